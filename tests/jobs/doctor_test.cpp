// What hivq doctor says of made-up machines.

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "jobs/doctor/coordinator.h"
#include "jobs/doctor/machine.h"
#include "jobs/doctor/probe.h"
#include "jobs/doctor/programs.h"
#include "tests/jobs/fake_coordinator.h"

namespace hivq::doctor {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr uint64_t MiB = 1 << 20, GiB = 1 << 30;

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A root with made-up files of the kernel.
class Root : public testing::Test {
 protected:
  Root() {
    std::string name = (fs::temp_directory_path() / "hivq_doctor_XXXXXX").string();
    root = mkdtemp(name.data());
  }
  ~Root() override { fs::remove_all(root); }
  void write(const std::string& name, const std::string& text) const {
    fs::create_directories((root / name).parent_path());
    std::ofstream(root / name) << text;
  }
  fs::path root;
};

Ran ran(int code, std::string output) { return {true, true, "", code, std::move(output)}; }

// ---- Control groups ----

TEST_F(Root, TheCpuQuotaIsTheLeastOfAllGroupsAbove) {
  write("proc/self/cgroup", "0::/kubepods/pod1/worker\n");
  write("sys/fs/cgroup/kubepods/pod1/worker/cpu.max", "max 100000\n");
  write("sys/fs/cgroup/kubepods/pod1/cpu.max", "250000 100000\n");
  write("sys/fs/cgroup/kubepods/cpu.max", "800000 100000\n");
  EXPECT_EQ(read_cpu_quota(root), 2.5);
}

TEST_F(Root, TheCpuQuotaOfVersionOneIsFoundAlsoWhereTheContainerSeesOnlyTheTop) {
  write("proc/self/cgroup", "5:cpu,cpuacct:/docker/abc\n3:memory:/docker/abc\n");
  write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n");
  write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(read_cpu_quota(root), 1.5);
  write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  EXPECT_EQ(read_cpu_quota(root), std::nullopt);
}

TEST_F(Root, WithoutControlGroupsThereIsNoQuota) {
  EXPECT_EQ(read_cpu_quota(root), std::nullopt);
  write("proc/self/cgroup", "garbage\n0::/\n");
  write("sys/fs/cgroup/cpu.max", "max\n");
  EXPECT_EQ(read_cpu_quota(root), std::nullopt);
}

TEST(DoctorCores, AQuotaBelowTheCoresThatAreSeenIsAWarningWithTheRemedy) {
  EXPECT_EQ(check_cores({8, std::nullopt}).verdict, Verdict::ok);
  EXPECT_EQ(check_cores({8, 8.0}).verdict, Verdict::ok);
  const Check check = check_cores({64, 2.5});
  EXPECT_EQ(check.verdict, Verdict::warning);
  EXPECT_TRUE(contains(check.found, "64 CPUs seen, but the container may use 2.5")) << check.found;
  EXPECT_TRUE(contains(check.remedy, "taskset -c 0-1 hivq")) << check.remedy;
  EXPECT_TRUE(contains(check_cores({4, 0.5}).remedy, "taskset -c 0 hivq"));
}

TEST_F(Root, TheMemoryIsTheContainersWhereThatIsLess) {
  write("proc/meminfo", "MemTotal:       16777216 kB\nMemFree: 1 kB\nMemAvailable:    8388608 kB\n");
  EXPECT_EQ(read_memory(root).total, 16 * GiB);
  EXPECT_EQ(check_memory(read_memory(root)).verdict, Verdict::ok);
  write("proc/self/cgroup", "0::/a/b\n");
  write("sys/fs/cgroup/a/b/memory.max", "max\n");
  write("sys/fs/cgroup/a/memory.max", "3221225472\n");  // 3 GiB
  write("sys/fs/cgroup/a/memory.current", "2147483648\n");
  const Memory memory = read_memory(root);
  EXPECT_EQ(memory.limit, 3 * GiB);
  EXPECT_EQ(memory.used, 2 * GiB);
  const Check check = check_memory(memory);
  EXPECT_EQ(check.verdict, Verdict::warning);
  EXPECT_TRUE(contains(check.found, "1.0 GiB free of the container's 3.0 GiB (the machine has 16.0 GiB)"))
      << check.found;
  EXPECT_TRUE(contains(check.remedy, "container more memory")) << check.remedy;
}

TEST(DoctorMemory, TooLittleIsAProblem) {
  EXPECT_EQ(check_memory({16 * GiB, 400 * MiB, std::nullopt, 0}).verdict, Verdict::problem);
  EXPECT_EQ(check_memory({16 * GiB, 1 * GiB, std::nullopt, 0}).verdict, Verdict::warning);
  EXPECT_EQ(check_memory({16 * GiB, 8 * GiB, 1 * GiB, 2 * GiB}).verdict, Verdict::problem) << "used beyond its limit";
}

// ---- Folders ----

constexpr int64_t ext4 = 0xef53, nfs = 0x6969;

DataFolder data_folder(uint64_t free, int64_t type) {
  return {{"D", true, "", free, 100 * GiB, type}, 0, false, false};
}

TEST(DoctorData, LittleSpaceAndUnsafeFileSystemsAreTold) {
  EXPECT_EQ(check_data(data_folder(50 * GiB, ext4)).verdict, Verdict::ok);
  EXPECT_EQ(check_data(data_folder(2 * GiB, ext4)).verdict, Verdict::warning);
  EXPECT_EQ(check_data(data_folder(100 * MiB, ext4)).verdict, Verdict::problem);
  const Check remote = check_data(data_folder(50 * GiB, nfs));
  EXPECT_EQ(remote.verdict, Verdict::warning);
  EXPECT_TRUE(contains(remote.found, "NFS")) << remote.found;
  EXPECT_TRUE(contains(remote.remedy, "--data DIR")) << remote.remedy;
  EXPECT_EQ(check_data(data_folder(50 * GiB, 0x01021994)).verdict, Verdict::warning) << "tmpfs";
  EXPECT_EQ(check_data(data_folder(50 * GiB, 12345)).verdict, Verdict::ok) << "what is not known is not blamed";
}

TEST(DoctorData, AStoreThatAStrangerHasOpenIsAProblem) {
  DataFolder data = data_folder(50 * GiB, ext4);
  data.locked_by = 77;
  EXPECT_EQ(check_data(data).verdict, Verdict::problem);
  EXPECT_TRUE(contains(check_data(data).found, "process 77"));
  data.served = true;
  EXPECT_EQ(check_data(data).verdict, Verdict::ok);
}

TEST_F(Root, AFolderThatIsNotThereYetIsJudgedByTheOneAboveAndNotMade) {
  const Folder folder = read_folder((root / "a/b/c").string());
  EXPECT_FALSE(folder.exists);
  EXPECT_EQ(folder.refusal, "");
  EXPECT_GT(folder.size, 0u);
  EXPECT_TRUE(fs::is_empty(root));
  write("file", "");
  EXPECT_TRUE(contains(read_folder((root / "file").string()).refusal, "is no folder"));
  EXPECT_TRUE(contains(read_folder((root / "file/below").string()).refusal, "is no folder"));
  EXPECT_EQ(check_data({read_folder((root / "file").string()), 0, false, false}).verdict, Verdict::problem);
}

TEST_F(Root, TheHolderOfAStoresLockIsFound) {
  EXPECT_EQ(lock_holder(root.string()), 0);
  write("store/LOCK", "");
  EXPECT_EQ(lock_holder(root.string()), 0);
  int ready[2], done[2];
  ASSERT_EQ(pipe(ready) + pipe(done), 0);
  const pid_t child = fork();
  if (child == 0) {
    const int file = open((root / "store/LOCK").c_str(), O_RDWR);
    struct flock lock {};
    lock.l_type = F_WRLCK;
    lock.l_whence = SEEK_SET;
    char byte = fcntl(file, F_SETLK, &lock) == 0 ? 'y' : 'n';
    (void)!::write(ready[1], &byte, 1);
    (void)!::read(done[0], &byte, 1);
    _exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(ready[0], &byte, 1), 1);
  EXPECT_EQ(byte, 'y');
  EXPECT_EQ(lock_holder(root.string()), child);
  (void)!::write(done[1], &byte, 1);
  ::waitpid(child, nullptr, 0);
  for (const int fd : {ready[0], ready[1], done[0], done[1]}) close(fd);
}

TEST(DoctorFolders, SmallSharedMemoryAndTmpAreToldWithTheRemedy) {
  const Check small = check_shared_memory({"/dev/shm", true, "", 64 * MiB, 64 * MiB, 0});
  EXPECT_EQ(small.verdict, Verdict::warning);
  EXPECT_TRUE(contains(small.remedy, "--shm-size")) << small.remedy;
  EXPECT_EQ(check_shared_memory({"/dev/shm", true, "", GiB, GiB, 0}).verdict, Verdict::ok);
  EXPECT_EQ(check_shared_memory({"/dev/shm", false, "", 0, 0, 0}).verdict, Verdict::warning);
  EXPECT_EQ(check_temporary({"/tmp", true, "/tmp: Permission denied", GiB, GiB, 0}).verdict, Verdict::problem);
  EXPECT_EQ(check_temporary({"/tmp", true, "", 10 * MiB, GiB, 0}).verdict, Verdict::warning);
  EXPECT_EQ(check_temporary({"/tmp", true, "", GiB, GiB, 0}).verdict, Verdict::ok);
  EXPECT_EQ(check_open_files(256).verdict, Verdict::warning);
  EXPECT_EQ(check_open_files(1024).verdict, Verdict::ok);
}

// ---- Programs and ranks ----

TEST(DoctorPrograms, MustBeThereAndOfOneVersion) {
  const std::vector<Program> good = {{"hivq-coordinator", "/bin", ran(0, "hivq-coordinator 1.2.3\n")},
                                     {"hivq-worker", "/bin", ran(0, "hivq-worker 1.2.3\n")}};
  EXPECT_EQ(check_programs("1.2.3", good).verdict, Verdict::ok);
  const Check other = check_programs("1.2.4", good);
  EXPECT_EQ(other.verdict, Verdict::problem);
  EXPECT_TRUE(contains(other.found, "hivq-worker is version 1.2.3, but hivq is 1.2.4")) << other.found;
  const Check missing = check_programs("1.2.3", {good[0], {"hivq-worker", "/bin", Ran{}}});
  EXPECT_TRUE(contains(missing.found, "hivq-worker is not in /bin")) << missing.found;
  const Check broken = check_programs("1", {{"hivq-worker", "/bin", ran(127, "libtorch.so: cannot open\n")}});
  EXPECT_TRUE(contains(broken.found, "does not run: libtorch.so: cannot open")) << broken.found;
}

TEST(DoctorMpirun, RootAndAnotherMpiAreTold) {
  EXPECT_EQ(check_mpirun({ran(0, "mpirun (Open MPI) 4.1.4\n\nReport…"), false, false}).found,
            "mpirun (Open MPI) 4.1.4");
  const Check root = check_mpirun({ran(0, "mpirun (Open MPI) 4.1.4\n"), true, false});
  EXPECT_EQ(root.verdict, Verdict::warning);
  EXPECT_TRUE(contains(root.remedy, "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1")) << root.remedy;
  EXPECT_EQ(check_mpirun({ran(0, "mpirun (Open MPI) 4.1.4\n"), true, true}).verdict, Verdict::ok);
  EXPECT_EQ(check_mpirun({ran(0, "HYDRA build details:\n"), false, false}).verdict, Verdict::warning);
  EXPECT_EQ(check_mpirun({Ran{}, false, false}).verdict, Verdict::problem);
}

constexpr const char* two_ranks =
    R"({"version":"0.1.0","ranks":2,"each":[{"rank":0,"device":"cpu"},{"rank":1,"device":"cpu"}],)"
    R"("all_reduce":{"bytes":4194304,"seconds":0.002},"cuda":{"built":false,"gpus":0},"nccl":"","weights_folder":"/w","weights":["a.pth"]})";
constexpr const char* one_rank = R"({"version":"0.1.0","ranks":1,"each":[{"rank":0,"device":"cpu"}]})";

TEST(DoctorRanks, AreFoundAmongWhatMpirunSays) {
  const std::string output = fmt::format("[warn] something\n{}\n", two_ranks);
  const Check check = check_ranks(ran(0, output), 2, "mpirun …", 10);
  EXPECT_EQ(check.verdict, Verdict::ok) << check.found;
  EXPECT_EQ(check.found, "2 see each other and add up, on 2 × cpu (2.0 ms for 4 MiB)");
}

TEST(DoctorRanks, EachWayToFailHasItsRemedy) {
  const auto remedy = [](const Ran& what) {
    const Check check = check_ranks(what, 2, "COMMAND", 10);
    EXPECT_EQ(check.verdict, Verdict::problem);
    return check.found + " | " + check.remedy;
  };
  EXPECT_TRUE(contains(remedy({true, false, "", -1, ""}), "within 10 s | hivq doctor --wait 60"));
  EXPECT_TRUE(contains(remedy(ran(1, "mpirun has detected an attempt to run as root.\n")), "OMPI_ALLOW_RUN_AS_ROOT=1"));
  EXPECT_TRUE(contains(remedy(ran(1, "There are not enough slots available\n")), "--oversubscribe"));
  EXPECT_TRUE(contains(remedy(ran(0, fmt::format("{0}\n{0}\n", one_rank))), "of another MPI"));
  EXPECT_TRUE(contains(remedy(ran(134, "boom\n-----\n")), "134: boom | see what it says: COMMAND"));
  EXPECT_TRUE(contains(remedy(Ran{}), "openmpi-bin"));
  EXPECT_TRUE(contains(remedy(ran(0, "{\"version\": damaged\n")), "COMMAND"));
}

TEST(DoctorGpus, AGpuWithoutABuildForItIsAWarning) {
  const auto seen =
      gpus_in(ran(0, "NVIDIA H100 80GB HBM3, 81559, 550.54.15\nNVIDIA H100 80GB HBM3, 81559, 550.54.15\n"));
  ASSERT_EQ(seen.size(), 2u);
  EXPECT_EQ(seen[0].name, "NVIDIA H100 80GB HBM3");
  EXPECT_EQ(seen[0].driver, "550.54.15");
  const nlohmann::json without = nlohmann::json::parse(two_ranks);
  const Check check = check_gpus(seen, without);
  EXPECT_EQ(check.verdict, Verdict::warning);
  EXPECT_TRUE(contains(check.found, "2 × NVIDIA H100 80GB HBM3 (79.6 GiB), driver 550.54.15")) << check.found;
  EXPECT_EQ(check.remedy, "HIVQ_DEVICE=cuda make");
  EXPECT_EQ(check_gpus({}, without).verdict, Verdict::ok);
  EXPECT_TRUE(gpus_in(ran(9, "No devices were found\n")).empty());
  EXPECT_TRUE(gpus_in(Ran{}).empty());

  nlohmann::json with = without;
  with["cuda"] = {{"built", true}, {"driver", "12.4"}, {"runtime", "13.0"}, {"gpus", 0}, {"problem", "driver too old"}};
  const Check old = check_gpus(seen, with);
  EXPECT_EQ(old.verdict, Verdict::problem);
  EXPECT_TRUE(contains(old.found, "driver too old")) << old.found;
  EXPECT_TRUE(contains(old.remedy, "built with CUDA 13.0, the driver can do 12.4")) << old.remedy;
  with["cuda"]["gpus"] = 2;
  with["nccl"] = "2.28.9";
  with["each"][0]["device"] = "cuda:0";
  EXPECT_EQ(check_gpus(seen, with).verdict, Verdict::ok);
  EXPECT_TRUE(contains(check_gpus(seen, with).found, "NCCL 2.28.9"));
}

TEST(DoctorWeights, WithoutAnyNothingCanBeTrained) {
  nlohmann::json report = nlohmann::json::parse(two_ranks);
  EXPECT_EQ(check_weights(report).found, "a.pth in /w");
  report["weights"] = nlohmann::json::array();
  EXPECT_EQ(check_weights(report).verdict, Verdict::problem);
}

// ---- Probes ----

TEST(DoctorProbe, AProgramIsEndedWhenItsTimeIsOver) {
  const auto begin = std::chrono::steady_clock::now();
  const Ran slow = run_for({"sh", "-c", "echo early; sleep 60"}, 300ms);
  EXPECT_TRUE(slow.started);
  EXPECT_FALSE(slow.in_time);
  EXPECT_EQ(slow.output, "early\n");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 20s);
  const Ran quick = run_for({"sh", "-c", "echo $WORD; exit 3"}, 20s, {{"WORD", "given"}});
  EXPECT_TRUE(quick.in_time);
  EXPECT_EQ(quick.code, 3);
  EXPECT_EQ(quick.output, "given\n");
  EXPECT_FALSE(run_for({"/no/such/program"}, 1s).started);
}

/// A server that answers each connection with the same text, or with silence.
class TextServer {
 public:
  explicit TextServer(std::string text) : text_(std::move(text)), socket_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    check(bind(socket_, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(socket_, 8) == 0, "listen");
    getsockname(socket_, reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      for (int peer; (peer = accept(socket_, nullptr, nullptr)) >= 0; peers_.push_back(peer)) {
        char question[1024];
        (void)!recv(peer, question, sizeof question, 0);
        if (!text_.empty()) {
          (void)!send(peer, text_.data(), text_.size(), MSG_NOSIGNAL);
          ::shutdown(peer, SHUT_RDWR);
        }
      }
    });
  }
  ~TextServer() {
    ::shutdown(socket_, SHUT_RDWR);
    thread_.join();
    for (const int peer : peers_) close(peer);
    close(socket_);
  }
  uint16_t port = 0;

 private:
  std::string text_;
  int socket_;
  std::vector<int> peers_;
  std::thread thread_;
};

TEST(DoctorProbe, AnHttpAnswerIsReadAndSilenceIsBounded) {
  TextServer healthy("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"), silent("");
  const auto url = [](const TextServer& server) { return fmt::format("http://127.0.0.1:{}/healthz", server.port); };
  const auto answer = http_get(url(healthy), 5s);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->body, "ok\n");
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_FALSE(http_get(url(silent), 200ms));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
  EXPECT_FALSE(http_get("tcp://127.0.0.1:1", 200ms));
  EXPECT_FALSE(http_get("http://127.0.0.1:1/", 200ms));
  EXPECT_FALSE(port_is_free(healthy.port));
}

TEST(DoctorProbe, APortIsFreeAgainOnceNobodyListens) {
  uint16_t port = 0;
  {
    TextServer server("x");
    port = server.port;
  }
  EXPECT_TRUE(port_is_free(port));
}

// ---- The coordinator ----

TEST(DoctorPorts, OnlyAStrangerOnAPortIsAProblem) {
  EXPECT_EQ(check_port({4487, "--listen", "tcp://127.0.0.1:0", Holder::nobody}).verdict, Verdict::ok);
  EXPECT_EQ(check_port({4487, "--listen", "tcp://127.0.0.1:0", Holder::coordinator}).verdict, Verdict::ok);
  const Check check = check_port({4488, "--http", "http://127.0.0.1:0", Holder::other});
  EXPECT_EQ(check.verdict, Verdict::problem);
  EXPECT_TRUE(contains(check.remedy, "hivq-coordinator --http http://127.0.0.1:0")) << check.remedy;
}

TEST(DoctorClock, IsJudgedOnlyBeyondWhatTheRoundTripLeavesOpen) {
  EXPECT_EQ(certainly_ahead(1500, 1000, 2000), 0);
  EXPECT_EQ(certainly_ahead(2500, 1000, 2000), 500);
  EXPECT_EQ(certainly_ahead(400, 1000, 2000), -600);
  Answered answer;
  EXPECT_FALSE(check_clock(answer));
  answer.ahead = 0;
  EXPECT_EQ(check_clock(answer)->verdict, Verdict::ok);
  answer.ahead = -1.5;
  EXPECT_EQ(check_clock(answer)->verdict, Verdict::ok);
  answer.ahead = 90;
  EXPECT_EQ(check_clock(answer)->verdict, Verdict::warning);
  EXPECT_TRUE(contains(check_clock(answer)->found, "1 min 30 s ahead of ours")) << check_clock(answer)->found;
}

/// A coordinator of version 9.9.9 whose clock is an hour ahead, with a gang of 4 ranks and one that is gone.
void answer_from_the_future(Router& router, const std::string& peer, const Message& question) {
  if (std::holds_alternative<QueryGangs>(question.body)) {
    reply(router, peer, question.id,
          GangList{{GangView{"g", "h", "", "", "", 4, {}, true}, GangView{"gone", "h", "", "", "", 8, {}, false}}});
  } else if (std::holds_alternative<QuerySql>(question.body)) {
    reply(router, peer, question.id,
          SqlAnswer{0, {"version", "now"}, {{SqlValue("9.9.9"), SqlValue(wall_clock() + 3'600'000)}}, true});
  }
}

TEST(DoctorCoordinator, TellsVersionGangsRoundTripAndClock) {
  FakeCoordinator fake(answer_from_the_future);
  const auto answer = ask_coordinator(fake.endpoint(), 5s);
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->version, "9.9.9");
  EXPECT_EQ(answer->gangs, 1u);
  EXPECT_EQ(answer->ranks, 4u);
  EXPECT_GT(answer->round_trip, 0);
  EXPECT_LT(answer->round_trip, 5);
  ASSERT_TRUE(answer->ahead);
  EXPECT_NEAR(*answer->ahead, 3600, 5);
  EXPECT_EQ(check_clock(*answer)->verdict, Verdict::warning);
  const Check other = check_coordinator({"E", false, answer}, "0.1.0");
  EXPECT_EQ(other.verdict, Verdict::warning);
  EXPECT_TRUE(contains(other.found, "it is version 9.9.9, this hivq 0.1.0")) << other.found;
  EXPECT_EQ(check_coordinator({"E", false, answer}, "9.9.9").verdict, Verdict::ok);
}

TEST(DoctorCoordinator, SilenceIsAProblemOnlyOfOneThatIsNamed) {
  FakeCoordinator silent([](Router&, const std::string&, const Message&) {});
  EXPECT_FALSE(ask_coordinator(silent.endpoint(), 200ms));
  EXPECT_EQ(check_coordinator({"E", true, std::nullopt}, "1").verdict, Verdict::problem);
  EXPECT_EQ(check_coordinator({"E", false, std::nullopt}, "1").verdict, Verdict::ok);
  EXPECT_EQ(check_dashboard("http://h:1", true).verdict, Verdict::ok);
  EXPECT_EQ(check_dashboard("http://h:1", false).verdict, Verdict::problem);
}

// ---- As text ----

TEST(DoctorText, IsBrokenAtWordsWhereTheTerminalIsNarrow) {
  const Check check{"cores", Verdict::warning, "one two three four five six seven",
                    "eight nine ten eleven twelve thirteen"};
  const std::string text = to_text(check, {50, false}), indent(24, ' ');
  EXPECT_EQ(text, "! warning  cores        one two three four five\n" + indent + "six seven\n" + indent +
                      "→ eight nine ten eleven\n" + indent + "twelve thirteen\n");
}

TEST(DoctorText, SaysTheVerdictInASignAndAWordAndTheRemedyBelow) {
  const std::vector<Check> checks = {{"cores", Verdict::ok, "8 CPUs", ""},
                                     {"data", Verdict::warning, "little \x1b[31mspace", "free some"},
                                     {"mpirun", Verdict::problem, "is gone", "install it"}};
  EXPECT_EQ(to_text(checks[0], {}), "✓ ok       cores        8 CPUs\n");
  const std::string warning = to_text(checks[1], {});
  EXPECT_TRUE(warning.starts_with("! warning  data         little")) << warning;
  EXPECT_TRUE(warning.ends_with("\n                        → free some\n")) << warning;
  EXPECT_EQ(warning.find('\x1b'), std::string::npos) << "what is found cannot steer the terminal";
  EXPECT_NE(to_text(checks[2], {0, true}).find('\x1b'), std::string::npos);
  EXPECT_EQ(summary(checks), "1 problem, 1 warning");
  EXPECT_EQ(summary({checks[0]}), "no problem");
  EXPECT_FALSE(to_json(checks)["ok"].get<bool>());
  EXPECT_EQ(to_json(checks)["checks"][2]["remedy"], "install it");
  EXPECT_TRUE(to_json({checks[0], checks[1]})["ok"].get<bool>());
}

}  // namespace
}  // namespace hivq::doctor
