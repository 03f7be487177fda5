#include "elastic_depthwise/cpu.h"

#include <algorithm>
#include <memory>
#include <new>

#include "cpu_features.h"
#include "elastic_depthwise/cpu_kernel.h"
#include "norm_activation/cpu_kernel.h"
#include "threads.h"

namespace modnas_fast::elastic_depthwise {
namespace {

namespace na = modnas_fast::norm_activation;

template <typename T>
struct Kernels {
  decltype(&cpu::baseline::workspace_cells) workspace_cells;
  decltype(&cpu::baseline::convolve<T>) convolve;
  decltype(&cpu::baseline::flip<T>) flip;
  decltype(&cpu::baseline::convolve_gradients<T>) convolve_gradients;
  decltype(&na::cpu::baseline::moments<T>) moments;
};

template <typename T>
Kernels<T> kernels() {
#define MODNAS_FAST_KERNELS(ISA)                                                             \
  Kernels<T> {                                                                               \
    &cpu::ISA::workspace_cells, &cpu::ISA::convolve<T>, &cpu::ISA::flip<T>,                  \
        &cpu::ISA::convolve_gradients<T>, &na::cpu::ISA::moments<T>                          \
  }
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

constexpr std::align_val_t line{64};

/// Zeros on cache-line borders; throws std::bad_alloc.
template <typename T>
class Zeros {
 public:
  explicit Zeros(std::size_t count) : numbers_(static_cast<T*>(::operator new[](count * sizeof(T), line))) {
    std::fill_n(numbers_.get(), count, T{});
  }
  T* get() const { return numbers_.get(); }

 private:
  struct Delete {
    void operator()(T* memory) const { ::operator delete[](memory, line); }
  };
  std::unique_ptr<T[], Delete> numbers_;
};

/// The channels, a cell at a time.
template <typename T>
struct Cells {
  std::int64_t channels, count;

  explicit Cells(std::int64_t channels) : channels(channels), count((channels + cell<T> - 1) / cell<T>) {}
  std::int64_t first(std::int64_t block) const { return block * cell<T>; }
  int size(std::int64_t block) const {
    return static_cast<int>(std::min<std::int64_t>(cell<T>, channels - first(block)));
  }
};

/// Taps [channels, kernel * kernel] as cells [blocks, kernel * kernel]; lanes beyond the channels are zeros.
template <typename T>
Zeros<T> as_cells(const Shape& shape, const T* taps) {
  const std::int64_t size = shape.kernel * shape.kernel;
  Zeros<T> cells(Cells<T>(shape.channels).count * size * cell<T>);
  for (std::int64_t c = 0; c < shape.channels; ++c)
    for (std::int64_t k = 0; k < size; ++k)
      cells.get()[(c / cell<T> * size + k) * cell<T> + c % cell<T>] = taps[c * size + k];
  return cells;
}

double work(const Shape& shape, std::int64_t images) {
  return static_cast<double>(images) * shape.height * shape.width * shape.channels * shape.kernel;
}

}  // namespace

template <typename T>
void forward_cpu(const Shape& shape, std::int64_t images, const na::Norm<T>& norm, const T* x, const T* taps,
                 int threads, T* z, T* y) {
  const Kernels<T> use = kernels<T>();
  const Cells<T> blocks(shape.channels);
  const Zeros<T> cells = as_cells<T>(shape, taps);
  const std::int64_t size = shape.kernel * shape.kernel;
  const std::int64_t pixels = shape.height * shape.width, out_pixels = shape.out_height() * shape.out_width();
  const int workers = na::threads_for(threads, work(shape, images));
  const std::size_t room = use.workspace_cells(shape) * cell<T>;
  const Zeros<T> workspace(room * workers);
  na::Moments moments(norm.given ? 0 : images, shape.channels);
  share(images * blocks.count, workers, [&](int worker, std::int64_t task) {
    const std::int64_t image = task / blocks.count, block = task % blocks.count, first = blocks.first(block);
    T* const found = z + image * out_pixels * shape.channels + first;
    use.convolve(shape, x + image * pixels * shape.channels + first, cells.get() + block * size * cell<T>,
                 blocks.size(block), workspace.get() + room * worker, found);
    if (norm.given) return;
    const std::int64_t place = image * shape.channels + first;
    T scratch[2 * cell<T>];
    use.moments({found, shape.channels}, out_pixels, blocks.size(block), scratch, moments.mean.data() + place,
                moments.squares.data() + place);
  });
  if (!norm.given) na::put_together<T>(moments, std::vector<std::int64_t>(images, out_pixels), norm);
  na::normalise_cpu<T>(norm, z, nullptr, threads, y);
}

template <typename T>
void backward_cpu(const Shape& shape, std::int64_t images, const na::Norm<T>& norm, const T* dy, const T* x,
                  const T* taps, const T* z, int threads, T* dx, T* dtaps, T* dscale, T* dshift) {
  na::Channels<T> channels(norm);
  channels.differentiate(norm, dy, z, threads, dscale, dshift);
  if (dx == nullptr && dtaps == nullptr) return;
  const Kernels<T> use = kernels<T>();
  const Cells<T> blocks(shape.channels);
  const Zeros<T> cells = as_cells<T>(shape, taps);
  const std::int64_t size = shape.kernel * shape.kernel;
  const Zeros<T> flipped(blocks.count * size * cell<T>);
  for (std::int64_t block = 0; block < blocks.count; ++block)
    use.flip(shape, cells.get() + block * size * cell<T>, flipped.get() + block * size * cell<T>);
  const std::int64_t pixels = shape.height * shape.width, out_pixels = shape.out_height() * shape.out_width();
  const int workers = na::threads_for(threads, 3 * work(shape, images));
  const std::size_t room = use.workspace_cells(shape) * cell<T>;
  const Zeros<T> workspace(room * workers);
  // Gradients by taps are summed over groups of images, whose number depends on the input alone.
  const std::int64_t groups = std::min<std::int64_t>(images, 16);
  const Zeros<double> sums(groups * blocks.count * size * cell<T>);
  share(groups * blocks.count, workers, [&](int worker, std::int64_t task) {
    const std::int64_t group = task / blocks.count, block = task % blocks.count, first = blocks.first(block);
    double* const by_taps = dtaps ? sums.get() + task * size * cell<T> : nullptr;
    for (std::int64_t image = images * group / groups; image < images * (group + 1) / groups; ++image) {
      const std::int64_t in = image * pixels * shape.channels + first, out = image * out_pixels * shape.channels + first;
      use.convolve_gradients(shape, x + in, flipped.get() + block * size * cell<T>, dy + out, z + out,
                             channels.factors().from(first), norm.activation, blocks.size(block),
                             workspace.get() + room * worker, dx ? dx + in : nullptr, by_taps);
    }
  });
  if (dtaps == nullptr) return;
  for (std::int64_t c = 0; c < shape.channels; ++c) {
    for (std::int64_t k = 0; k < size; ++k) {
      double sum = 0.0;
      for (std::int64_t group = 0; group < groups; ++group)
        sum += sums.get()[((group * blocks.count + c / cell<T>) * size + k) * cell<T> + c % cell<T>];
      dtaps[c * size + k] = static_cast<T>(sum);
    }
  }
}

#define MODNAS_FAST_DEFINE(T)                                                                                      \
  template void forward_cpu<T>(const Shape&, std::int64_t, const na::Norm<T>&, const T*, const T*, int, T*, T*);   \
  template void backward_cpu<T>(const Shape&, std::int64_t, const na::Norm<T>&, const T*, const T*, const T*,      \
                                const T*, int, T*, T*, T*, T*);
MODNAS_FAST_DEFINE(float)
MODNAS_FAST_DEFINE(double)

}  // namespace modnas_fast::elastic_depthwise
