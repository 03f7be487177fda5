#include "gramian/cpu.h"

#include <algorithm>

#include "aligned.h"
#include "cpu_features.h"
#include "gramian/cpu_kernel.h"
#include "threads.h"

namespace modnas_fast::gramian {
namespace {

struct Kernels {
  decltype(&cpu::baseline::workspace_doubles) workspace_doubles, sum_doubles;
  decltype(&cpu::baseline::accumulate) accumulate;
  decltype(&cpu::baseline::finish) finish;
  decltype(&cpu::baseline::combine) combine;
};

Kernels kernels() {
#define MODNAS_FAST_KERNELS(ISA) \
  Kernels { &cpu::ISA::workspace_doubles, &cpu::ISA::sum_doubles, &cpu::ISA::accumulate, &cpu::ISA::finish, &cpu::ISA::combine }
#ifdef MODNAS_FAST_X86
  switch (instruction_set()) {
    case InstructionSet::avx512:
      return MODNAS_FAST_KERNELS(avx512);
    case InstructionSet::avx2:
      return MODNAS_FAST_KERNELS(avx2);
    default:
      break;
  }
#endif
  return MODNAS_FAST_KERNELS(baseline);
}

/// Part of one piece.
struct Part {
  int piece;
  std::int64_t begin, end;
};

constexpr std::int64_t part_length = 16384;  // whole stretches of both kernels

std::vector<Part> cut(const std::vector<Piece>& pieces) {
  std::vector<Part> parts;
  for (std::size_t p = 0; p < pieces.size(); ++p) {
    for (std::int64_t at = 0; at < pieces[p].length; at += part_length)
      parts.push_back({static_cast<int>(p), at, std::min(pieces[p].length, at + part_length)});
  }
  return parts;
}

/// Fewer threads where the work would not repay starting them.
int worth(int threads, double numbers) {
  constexpr double numbers_per_thread = 2e5;
  return static_cast<int>(std::max(1.0, std::min<double>(threads, numbers / numbers_per_thread)));
}

/// Parts are summed in slots, slots in order: their number depends on the input alone, so that the result does
/// not depend on the threads.
std::size_t slots_for(std::size_t parts, std::size_t doubles) {
  constexpr std::size_t most_doubles = 1 << 23, most = 64;
  return std::max<std::size_t>(1, std::min({parts, most, most_doubles / std::max<std::size_t>(1, doubles)}));
}

double total_numbers(const std::vector<Piece>& pieces, int count) {
  double numbers = 0;
  for (const Piece& piece : pieces) numbers += static_cast<double>(piece.length) * count;
  return numbers;
}

}  // namespace

void gramian_cpu(const std::vector<Piece>& pieces, int count, int threads, double* gram) {
  const Kernels use = kernels();
  const std::vector<Part> parts = cut(pieces);
  const std::size_t size = use.sum_doubles(count);
  const std::size_t slots = slots_for(parts.size(), size);
  const int workers = worth(std::min<int>(threads, static_cast<int>(slots)), total_numbers(pieces, count));
  const std::size_t scratch = use.workspace_doubles(count);
  const AlignedDoubles workspace = aligned_doubles(scratch * workers);
  const AlignedDoubles sums = aligned_doubles(size * slots);
  std::fill_n(sums.get(), size * slots, 0.0);
  share(static_cast<std::int64_t>(slots), workers, [&](int worker, std::int64_t slot) {
    const std::size_t begin = parts.size() * slot / slots, end = parts.size() * (slot + 1) / slots;
    for (std::size_t k = begin; k < end; ++k) {
      const Piece& piece = pieces[parts[k].piece];
      use.accumulate(piece.rows.data(), piece.type, parts[k].begin, parts[k].end, count,
                     workspace.get() + scratch * worker, sums.get() + size * slot);
    }
  });
  for (std::size_t slot = 1; slot < slots; ++slot)
    for (std::size_t k = 0; k < size; ++k) sums[k] += sums[slot * size + k];
  use.finish(sums.get(), count, gram);
}

void combine_cpu(const std::vector<Piece>& pieces, const double* weights, int count, int threads,
                 const std::vector<void*>& out) {
  const Kernels use = kernels();
  const std::vector<Part> parts = cut(pieces);
  const int workers = worth(std::min<int>(threads, std::max<int>(1, static_cast<int>(parts.size()))),
                            total_numbers(pieces, count));
  const std::size_t scratch = use.workspace_doubles(count);
  const AlignedDoubles workspace = aligned_doubles(scratch * workers);
  share(static_cast<std::int64_t>(parts.size()), workers, [&](int worker, std::int64_t k) {
    const Part& part = parts[k];
    const Piece& piece = pieces[part.piece];
    use.combine(piece.rows.data(), piece.type, part.begin, part.end, count, weights,
                workspace.get() + scratch * worker, out[part.piece]);
  });
}

}  // namespace modnas_fast::gramian
