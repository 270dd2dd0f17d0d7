// The whole test framework: CHECK counts and prints failures, report() is what main returns.
//
//   int main() {
//     CHECK(1 + 1 == 2);
//     CHECK_EQ(sum(x), 10);
//     return check::report();
//   }
#pragma once

#include <cstdio>
#include <sstream>

namespace check {

inline long passed = 0;
inline long failed = 0;

inline bool count(bool ok, const char* file, int line, const char* what) {
  ++(ok ? passed : failed);
  if (!ok) std::fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
  return ok;
}

template <class A, class B>
bool equal(const A& a, const B& b, const char* file, int line, const char* what) {
  if (count(a == b, file, line, what)) return true;
  std::ostringstream values;
  values << "  left:  " << a << "\n  right: " << b << "\n";
  std::fputs(values.str().c_str(), stderr);
  return false;
}

// Exit status: 0 when at least one check ran and none failed.
inline int report() {
  std::printf("%ld passed, %ld failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace check

#define CHECK(condition) ::check::count((condition), __FILE__, __LINE__, #condition)
#define CHECK_EQ(a, b) ::check::equal((a), (b), __FILE__, __LINE__, #a " == " #b)
