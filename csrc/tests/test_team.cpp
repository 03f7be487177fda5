// The solver's code under a team of several lanes, emulated by threads with a barrier: what a warp does on a GPU.
// ThreadSanitizer sees every access that a warp would leave unordered.
#include <cmath>
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "min_norm/min_norm.h"

namespace mn = modnas_fast::min_norm;

/// What the lanes share: a barrier, and room for one number and one index each.
struct Meeting {
  explicit Meeting(int count) : lanes(count), number(count), index(count) {}
  void wait() {
    std::unique_lock<std::mutex> lock(mutex);
    const int now = round;
    if (++arrived == lanes) {
      arrived = 0;
      ++round;
      all_here.notify_all();
    } else {
      all_here.wait(lock, [&] { return round != now; });
    }
  }
  int lanes, arrived = 0, round = 0;
  std::mutex mutex;
  std::condition_variable all_here;
  std::vector<double> number;
  std::vector<int> index;
};

/// The interface of Solo and Warp in csrc/min_norm/team.h.
struct Crew {
  Meeting* meeting;
  int lane;

  template <typename F>
  void each(int begin, int end, F f) const {
    meeting->wait();
    for (int i = begin + lane; i < end; i += meeting->lanes) f(i);
    meeting->wait();
  }
  template <typename F>
  void once(F f) const {
    meeting->wait();
    if (lane == 0) f();
    meeting->wait();
  }
  template <typename F>
  double sum(int begin, int end, F f) const {
    double own = 0.0;
    for (int i = begin + lane; i < end; i += meeting->lanes) own += f(i);
    meeting->number[lane] = own;
    meeting->wait();
    double total = 0.0;
    for (const double part : meeting->number) total += part;
    meeting->wait();
    return total;
  }
  template <typename F>
  int highest(int begin, int end, double& best, F f) const {
    int found = -1;
    for (int i = begin + lane; i < end; i += meeting->lanes) {
      const double value = f(i);
      if (value > best) best = value, found = i;
    }
    meeting->number[lane] = best;
    meeting->index[lane] = found;
    meeting->wait();
    for (int other = 0; other < meeting->lanes; ++other) {
      const double value = meeting->number[other];
      const int index = meeting->index[other];
      if (index >= 0 && (found < 0 || value > best || (value == best && index < found))) best = value, found = index;
    }
    meeting->wait();
    return found;
  }
};

struct Answer {
  std::vector<double> weights;
  double squared, gap;
  std::int64_t iterations;
  std::int8_t status;
  std::int32_t row;
};

template <typename Run>
static Answer answer_of(int n, const Run& run) {
  Answer a{std::vector<double>(n), 0, 0, 0, 0, 0};
  run(mn::Answers<double>{a.weights.data(), &a.squared, &a.gap, &a.iterations, &a.status, &a.row});
  return a;
}

static Answer alone(const std::vector<double>& gram, int n, const mn::Options& options) {
  std::vector<double> memory(mn::workspace_bytes(n) / sizeof(double) + 1);
  return answer_of(n, [&](const mn::Answers<double>& out) {
    mn::solve(modnas_fast::Solo{}, gram.data(), n, options, memory.data(), out, 0);
  });
}

static Answer together(const std::vector<double>& gram, int n, const mn::Options& options, int lanes) {
  std::vector<double> memory(mn::workspace_bytes(n) / sizeof(double) + 1);
  return answer_of(n, [&](const mn::Answers<double>& out) {
    Meeting meeting(lanes);
    std::vector<std::thread> threads;
    for (int lane = 0; lane < lanes; ++lane)
      threads.emplace_back(
          [&, lane] { mn::solve(Crew{&meeting, lane}, gram.data(), n, options, memory.data(), out, 0); });
    for (std::thread& thread : threads) thread.join();
  });
}

int main() {
  std::mt19937_64 random(5);
  std::normal_distribution<double> normal;
  int failures = 0;
  const auto expect = [&](bool holds, const char* what, int n, int method, int kind) {
    if (holds) return;
    ++failures;
    std::fprintf(stderr, "FAILED: %s (n = %d, method %d, kind %d)\n", what, n, method, kind);
  };
  for (const int n : {1, 2, 3, 5, 9, 14}) {
    for (int kind = 0; kind < 4; ++kind) {
      std::vector<std::vector<double>> points(n, std::vector<double>(n + 2));
      for (int i = 0; i < n; ++i) {
        for (double& x : points[i]) x = (kind == 1 ? 0.0 : 0.5) + normal(random);
        if (kind == 2 && i % 2 == 1) points[i] = points[i - 1];
        if (kind == 3)  // a flat hull: the swift method gives way to the sturdy one
          for (std::size_t k = 2; k < points[i].size(); ++k) points[i][k] = k == 2 ? 1 - 1e-8 * std::fabs(normal(random)) : 0.0;
      }
      std::vector<double> gram(static_cast<std::size_t>(n) * n);
      for (int i = 0; i < n; ++i)
        for (int j = 0; j < n; ++j)
          for (std::size_t k = 0; k < points[i].size(); ++k) gram[i * n + j] += points[i][k] * points[j][k];
      for (int method = 0; method < 4; ++method) {
        mn::Options options;
        options.method = static_cast<mn::Method>(method);
        options.tol = method == 0 ? 1e-14 : method == 1 ? 1e-5 : 1e-8;
        options.max_iter = method == 0 ? 200 : 40;
        const Answer one = alone(gram, n, options);
        for (const int lanes : {2, 5}) {
          const Answer many = together(gram, n, options, lanes);
          expect(many.status == one.status, "status", n, method, kind);
          expect(std::fabs(many.squared - one.squared) <= 1e-9 * (1 + one.squared), "squared norm", n, method, kind);
        }
      }
    }
  }
  if (failures == 0) std::puts("team: all tests passed");
  return failures == 0 ? 0 : 1;
}
