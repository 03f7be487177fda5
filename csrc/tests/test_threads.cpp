// The core's own tests of share: every task once, on threads of its own and on those of a lent runtime.
#include <cstdio>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "threads.h"

namespace mf = modnas_fast;

static int failures = 0;
static std::atomic<int> teams{0};

static void expect(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

/// In place of GOMP_parallel.
static void start_team(void (*run)(void*), void* data, unsigned threads, unsigned) {
  ++teams;
  std::vector<std::thread> others;
  for (unsigned k = 1; k < threads; ++k) others.emplace_back(run, data);
  run(data);
  for (std::thread& other : others) other.join();
}

static void every_task_once(const std::string& where) {
  for (const int threads : {1, 2, 3, 8}) {
    for (const std::int64_t tasks : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> done(tasks);
      std::vector<std::atomic<int>> busy(threads);  // two threads of one number would meet here
      std::atomic<bool> alone{true};
      mf::share(tasks, threads, [&](int worker, std::int64_t task) {
        if (worker < 0 || worker >= threads || busy[worker]++ != 0) alone = false;
        ++done[task];
        --busy[worker];
      });
      bool once = true;
      for (auto& times : done) once = once && times == 1;
      expect(once, where + ": every task once");
      expect(alone, where + ": each thread has a number of its own below their count");
    }
  }
  bool thrown = false;
  try {
    mf::share(100, 3, [](int, std::int64_t task) {
      if (task == 5) throw std::runtime_error("task 5");
    });
  } catch (const std::runtime_error& error) {
    thrown = std::string(error.what()) == "task 5";
  }
  expect(thrown, where + ": what a task throws arrives");
}

int main() {
  every_task_once("own threads");
  expect(teams == 0, "nothing was lent yet");
  mf::lend_team(start_team);
  every_task_once("lent threads");
  const int lent = teams;
  expect(lent == 3 * 3 + 1, "every call for more than one thread starts the lent team");
  mf::lent_team.process += 1;  // as if this were a child of the process that was lent the team
  every_task_once("a child's own threads");
  expect(teams == lent, "a child does not wait for its parent's threads");
  if (failures == 0) std::puts("threads: all tests passed");
  return failures == 0 ? 0 : 1;
}
