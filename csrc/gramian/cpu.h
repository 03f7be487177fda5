// Gramian and weighted sum of T long rows that may lie anywhere in CPU memory, piece by piece.
#pragma once

#include <cstdint>
#include <vector>

#include "gramian/types.h"

namespace modnas_fast::gramian {

/// One parameter: for each of the T rows `length` numbers, contiguous, at rows[t]; zeros where that is null.
struct Piece {
  std::vector<const void*> rows;  // [T]
  std::int64_t length;
  Type type;
};

/// G[s, t] = sum over pieces of <row s, row t>, [count, count], products and sums in double, on up to `threads`
/// threads; the same bits for any number of them. Each input is read once.
void gramian_cpu(const std::vector<Piece>& pieces, int count, int threads, double* gram);

/// out[k] = sum_t weights[t] * row t of each piece, in double, rounded once to the piece's type. A row of
/// weight 0 is not read. out holds one address per piece.
void combine_cpu(const std::vector<Piece>& pieces, const double* weights, int count, int threads,
                 const std::vector<void*>& out);

}  // namespace modnas_fast::gramian
