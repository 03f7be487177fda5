"""What an answer is worth: points and fronts, exact fronts of known spaces, verification."""
