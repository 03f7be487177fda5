// Work shared among threads: those of an OpenMP runtime that the process has already, or some that live for one call.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

#ifndef _WIN32
#include <unistd.h>
#endif

namespace modnas_fast {

/// GOMP_parallel, which OpenMP runtimes on Linux offer: run(data) on a team of `threads`, the caller among them.
using StartTeam = void (*)(void (*run)(void* data), void* data, unsigned threads, unsigned flags);

/// The lent runtime. A child of a fork inherits none of its threads and must not wait for them.
struct LentTeam {
  std::atomic<StartTeam> start{nullptr};
  std::atomic<long> process{0};
};
inline LentTeam lent_team;

inline long this_process() {
#ifdef _WIN32
  return 0;
#else
  return static_cast<long>(::getpid());
#endif
}

/// From now on `share` uses that runtime in this process; nullptr: none.
inline void lend_team(StartTeam start) {
  lent_team.process.store(this_process());
  lent_team.start.store(start);
}

namespace detail {

/// run() once on each of `threads` threads that live for this call, the caller among them.
template <typename Run>
void run_on_own_threads(int threads, Run& run) {
  std::vector<std::thread> helpers;
  helpers.reserve(threads - 1);
  for (int helper = 1; helper < threads; ++helper) {
    try {
      helpers.emplace_back([&run] { run(); });
    } catch (const std::system_error&) {
      break;  // the system has no more threads: those that there are do all the work
    }
  }
  run();
  for (std::thread& helper : helpers) helper.join();
}

template <typename Run>
void run_on(int threads, Run& run) {
  const StartTeam start = lent_team.start.load();
  if (threads == 1) {
    run();
  } else if (start && lent_team.process.load() == this_process()) {
    start([](void* data) { (*static_cast<Run*>(data))(); }, &run, static_cast<unsigned>(threads), 0);
  } else {
    run_on_own_threads(threads, run);
  }
}

}  // namespace detail

/// work(worker, task) for every task in [0, tasks), each once, on at most `threads` threads; worker < threads is
/// another number in each of them. Tasks are taken in order by whoever is free. Rethrows what a task threw first.
template <typename Work>
void share(std::int64_t tasks, int threads, const Work& work) {
  const int workers = static_cast<int>(std::max<std::int64_t>(1, std::min<std::int64_t>(threads, tasks)));
  std::atomic<std::int64_t> next{0};
  std::atomic<int> numbered{0};
  std::atomic<bool> failed{false};
  std::exception_ptr failure;
  auto run = [&] {
    const int worker = numbered.fetch_add(1, std::memory_order_relaxed);
    try {
      for (std::int64_t task; (task = next.fetch_add(1, std::memory_order_relaxed)) < tasks;) work(worker, task);
    } catch (...) {
      next.store(tasks, std::memory_order_relaxed);
      if (!failed.exchange(true)) failure = std::current_exception();
    }
  };
  detail::run_on(workers, run);
  if (failure) std::rethrow_exception(failure);
}

}  // namespace modnas_fast
