// The core's own tests of OncePerDevice: threads that launch with different sizes on devices that are not there.
#include <array>
#include <atomic>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "once_per_device.h"

static int failures = 0;

static void expect(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

/// A kernel's limit of shared memory on two devices, as the CUDA runtime keeps it: the last value set holds.
struct Limits {
  static constexpr int most = 227;
  std::array<std::atomic<int>, 2> limit{48, 48};
  std::atomic<int> changes{0};

  int raise(int device, int to) {
    ++changes;
    limit[device] = to;
    return 0;
  }
};

static void no_thread_lowers_what_another_needs() {
  modnas_fast::OncePerDevice once;
  Limits limits;
  std::atomic<int> refused{0};
  std::vector<std::thread> threads;
  for (int k = 0; k < 8; ++k) {
    threads.emplace_back([&, k] {
      const int device = k % 2, needed = k < 4 ? 4 : Limits::most;
      for (int launch = 0; launch < 1000; ++launch) {
        once(device, [&] { return limits.raise(device, Limits::most); });
        if (limits.limit[device] < needed) ++refused;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  expect(refused == 0, "a launch was refused");
  expect(limits.changes == 2, "each device's limit is set once");
}

static void what_failed_is_tried_again() {
  modnas_fast::OncePerDevice once;
  int calls = 0;
  const auto fail_first = [&] { return ++calls == 1 ? 7 : 0; };
  expect(once(0, fail_first) == 7 && once(0, fail_first) == 0 && once(0, fail_first) == 0, "codes are handed out");
  expect(calls == 2, "a success is kept, a failure is not");
  expect(once(1, [] { return 5; }) == 5, "another device has its own outcome");
}

int main() {
  no_thread_lowers_what_another_needs();
  what_failed_is_tried_again();
  if (failures == 0) std::puts("once_per_device: all tests passed");
  return failures == 0 ? 0 : 1;
}
