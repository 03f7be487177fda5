"""The first objective of the tasks that there are: wrong answers."""

from modnas_fast.runtime.objective import Objective

QUALITY = Objective("error", "%")
