"""Beam search over tokens, for whatever gives log-probabilities of the next one."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

#: log-probabilities [B · K, V] of the next token, from the last tokens [B · K] and the rows they come from, [B · K]
Advance = Callable[[Tensor, Tensor], Tensor]


def beam_search(
    advance: Advance,
    count: int,
    beam: int,
    end: int,
    longest: int,
    length_penalty: float,
    device: torch.device | str = "cpu",
) -> list[list[int]]:
    """The best sequence found for each of `count` sentences, without the tokens that begin and end it.

    All sentences advance together; one is done as soon as `beam` candidates have ended, as in fairseq.

    Args:
        advance: called once per token, with `end` at first.
        count: B, sentences.
        beam: K, candidates kept for each; 1 takes the most probable token each time.
        end: token that begins and ends a sequence.
        longest: tokens at most; a candidate that is as long ends.
        length_penalty: a candidate's log-probability is divided by its length, its end included, to this power.
        device: of the tokens.

    >>> follows = torch.tensor([[0.1, 0.6, 0.3], [0.2, 0.1, 0.7], [0.8, 0.1, 0.1]]).log()  # token 0 ends
    >>> beam_search(lambda tokens, order: follows[tokens], 2, 1, 0, 9, 1.0)
    [[1, 2], [1, 2]]
    """
    tokens = torch.full((count * beam,), end, device=device)
    order = torch.arange(count * beam, device=device)
    first = order.view(count, beam)[:, :1]
    scores = torch.full((count, beam), -torch.inf, device=device)
    scores[:, 0] = 0  # candidates are all alike at first: one of them is enough
    sequences = torch.empty(count * beam, 0, dtype=torch.int64, device=device)
    ended: list[list[tuple[float, list[int]]]] = [[] for _ in range(count)]
    for length in range(1, longest + 1):
        following = advance(tokens, order).view(count, beam, -1)
        if length == longest:
            ends = following[..., end].clone()
            following = torch.full_like(following, -torch.inf)
            following[..., end] = ends
        vocabulary = following.shape[-1]
        total = (scores[..., None] + following).flatten(1)
        best, places = total.topk(min(2 * beam, total.shape[1]))  # half of them may end
        rows, chosen = first + places // vocabulary, places % vocabulary
        ending = (chosen == end) & best.isfinite()
        for sentence, rank in ending[:, :beam].nonzero().tolist():
            if len(ended[sentence]) < beam:
                score = float(best[sentence, rank]) / length**length_penalty
                ended[sentence].append((score, sequences[rows[sentence, rank]].tolist()))
        if length == longest or all(len(found) >= beam for found in ended):
            break
        # of those that go on, the best `beam` in their order
        going = torch.where(ending, -torch.inf, best).topk(beam)
        scores = going.values
        order, tokens = (part.gather(1, going.indices).flatten() for part in (rows, chosen))
        sequences = torch.cat([sequences[order], tokens[:, None]], dim=1)
    return [max(found)[1] for found in ended]
