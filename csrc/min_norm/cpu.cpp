#include "min_norm/cpu.h"

#include <algorithm>

#include "aligned.h"
#include "cpu_features.h"
#include "min_norm/cpu_kernel.h"
#include "threads.h"

namespace modnas_fast::min_norm {
namespace {

/// A guess at the seconds that one problem takes; it steers the work's distribution, not the result.
double guessed_seconds(int n) { return 1e-9 * (200.0 + n * n * n); }

/// Problems that one thread solves before it asks for more: enough to make asking cheap.
std::int64_t problems_per_task(int n) {
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(3e-5 / guessed_seconds(n)));
}

/// Threads that the batch is worth: starting one, and waiting for it to end, must not cost more than it saves.
std::int64_t worth(std::int64_t batch, int n) {
  constexpr double seconds_per_thread = 2e-4;
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(guessed_seconds(n) * batch / seconds_per_thread));
}

}  // namespace

template <typename Scalar>
void solve_cpu(const Options& options, const Scalar* gramian, std::int64_t batch, int n, int threads,
               const Answers<Scalar>& out) {
  if (batch == 0) return;
  auto* solve_range = static_cast<void (*)(const Options&, const Scalar*, std::int64_t, std::int64_t, int, void*,
                                           const Answers<Scalar>&)>(&cpu::baseline::solve_range);
  // Vectors do not pay for loops shorter than this: their remainders cost more than the whole loop in scalars.
  constexpr int fewest_for_vectors = 24;
  switch (n < fewest_for_vectors ? InstructionSet::baseline : instruction_set()) {
#ifdef MODNAS_FAST_X86
    case InstructionSet::avx512:
      solve_range = &cpu::avx512::solve_range;
      break;
    case InstructionSet::avx2:
      solve_range = &cpu::avx2::solve_range;
      break;
#endif
    default:
      break;
  }
  const std::int64_t share_size = problems_per_task(n), tasks = (batch + share_size - 1) / share_size;
  const int workers =
      static_cast<int>(std::max<std::int64_t>(1, std::min({static_cast<std::int64_t>(threads), tasks, worth(batch, n)})));
  // Workers write side by side: no two of them into one pair of cache lines, which processors fetch together.
  constexpr std::size_t apart = 16;
  const std::size_t doubles = (workspace_bytes(n) / sizeof(double) + apart - 1) / apart * apart + apart;
  constexpr std::size_t small = 1024;
  alignas(64) double nearby[small];  // a single small problem should not wait for the heap
  AlignedDoubles heap;
  if (doubles * workers > small) heap = aligned_doubles(doubles * workers);
  double* const memory = heap ? heap.get() : nearby;
  share(tasks, workers, [&](int worker, std::int64_t task) {
    const std::int64_t begin = task * share_size, end = std::min(batch, begin + share_size);
    solve_range(options, gramian, begin, end, n, memory + worker * doubles, out);
  });
}

template void solve_cpu<float>(const Options&, const float*, std::int64_t, int, int, const Answers<float>&);
template void solve_cpu<double>(const Options&, const double*, std::int64_t, int, int, const Answers<double>&);

}  // namespace modnas_fast::min_norm
