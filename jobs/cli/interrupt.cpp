#include "jobs/cli/interrupt.h"

#include <signal.h>

#include <initializer_list>

namespace hivq::cli {

namespace {

volatile sig_atomic_t noted = 0;  // a signal handler has nowhere else to put it

void note(int number) { noted = number; }

}  // namespace

void note_interrupts() {
  struct sigaction action {};
  action.sa_handler = note;
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (int number : {SIGINT, SIGTERM, SIGHUP}) sigaction(number, &action, nullptr);
}

int interrupted() { return noted; }

}  // namespace hivq::cli
