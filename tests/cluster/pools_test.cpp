#include "cluster/pools.h"

#include <gtest/gtest.h>

#include "cluster/hostfile.h"

namespace hivq {
namespace {

std::string mistakes(const std::string& text) {
  const auto pools = parse_pools(text, "pools.yaml");
  return pools ? "" : pools.error().message;
}

TEST(Pools, TheExampleIsRead) {
  const auto pools = read_pools(HIVQ_SOURCE_DIR "/cluster/examples/pools.yaml");
  ASSERT_TRUE(pools) << pools.error().message;
  ASSERT_EQ(pools->size(), 4u);
  const Pool& lab = pools->at(1).pool;
  EXPECT_EQ(lab.name, "lab");
  EXPECT_EQ(lab.ranks, 4u);
  EXPECT_EQ(lab.maximum, 2u);
  EXPECT_EQ(lab.idle, 600'000);
  EXPECT_FALSE(lab.stays);
  const auto& hostfile = std::get<HostfilePool>(pools->at(1).engine);
  EXPECT_EQ(hostfile.hosts, (std::vector<HostSlots>{{"node1", 4}, {"node2", 4}}));
  const Pool& slurm = pools->at(2).pool;
  EXPECT_EQ(slurm.minimum, 1u);
  EXPECT_TRUE(slurm.stays);
  EXPECT_FALSE(slurm.returns);
  EXPECT_EQ(gang_labels(slurm), (Labels{{"gpu", "h100"}, {"pool", "slurm"}}));
  EXPECT_EQ(std::get<SlurmPool>(pools->at(2).engine).sbatch.size(), 2u);
  const auto& cloud = std::get<KubernetesPool>(pools->at(3).engine);
  EXPECT_EQ(cloud.key_secret_name, "hivq-gang-key");
  EXPECT_EQ(cloud.resources.kind, YamlNode::Kind::map);
  EXPECT_FALSE(pools->at(3).pool.returns);
  const auto requeued = parse_pools("pools:\n  - name: a\n    launcher: slurm\n    requeue: true\n", "pools.yaml");
  EXPECT_TRUE(requeued->at(0).pool.returns);
}

TEST(Pools, AMistakeNamesFileLineFieldAndRemedy) {
  EXPECT_EQ(mistakes("pools:\n  - name: a\n    launcher: mpirun\n    ranks: 0\n"),
            "pools.yaml:4: pools.a.ranks is 0; it must be a whole number from 1 to 100000");
  EXPECT_EQ(mistakes("pools:\n  - name: a\n    launcher: pbs\n"),
            "pools.yaml:3: pools.a.launcher is pbs; it must be one of mpirun, hostfile, slurm, kubernetes");
  EXPECT_EQ(mistakes("pools:\n  - name: a\n    launcher: mpirun\n    idle: 5 minutes\n"),
            "pools.yaml:4: pools.a.idle is 5 minutes; it must be a time such as 90s, 5m or 2h, or never");
  EXPECT_EQ(mistakes("pools:\n  - name: a\n    launcher: mpirun\n    minimum: 2\n"),
            "pools.yaml:2: pools.a.minimum is 2, and its maximum 1; it must not be more");
  EXPECT_EQ(mistakes("pools:\n  - name: a\n    launcher: slurm\n    start: ssh\n"),
            "pools.yaml:4: pools.a.start is ssh; it must be one of auto, srun, mpirun");
  EXPECT_EQ(mistakes("pools:\n  - name: A b\n    launcher: mpirun\n"),
            "pools.yaml:2: pools.1.name is A b; it must be small letters, digits and '-', 24 at most");
  EXPECT_EQ(mistakes("pools:\n  - name: a\n    launcher: mpirun\n    labels: {pool: b}\n"),
            "pools.yaml:4: pools.a.labels.pool is the pool's name; leave it out");
  EXPECT_EQ(mistakes("pools:\n  - name: a\n    launcher: hostfile\n    hosts: [n1 slots=2]\n    ranks: 3\n"),
            "pools.yaml:2: pools.a.ranks is 3, but its hosts have 2 slots; give them more, or gangs fewer ranks");
  EXPECT_EQ(mistakes("pools:\n  - name: a\n    launcher: hostfile\n    hosts: [n1 cores=2]\n"),
            "pools.yaml:4: pools.a.hosts: cores=2 after host n1; it must be slots=N, from 1 on");
  EXPECT_EQ(mistakes("pools:\n  - name: a\n    launcher: kubernetes\n"),
            "pools.yaml:2: pools.a.image is missing; name that of the worker");
  EXPECT_EQ(mistakes("pools:\n  - name: a\n    launcher: kubernetes\n    image: x\n    service: gangs\n"),
            "pools.yaml:2: pools.a.ssh_secret is missing; without the MPI operator a gang of several pods needs it "
            "beside service");
  EXPECT_EQ(
      mistakes("pools:\n  - name: a\n    launcher: kubernetes\n    image: x\n    ranks: 3\n    ranks_per_pod: 2\n"),
      "pools.yaml:2: pools.a.ranks is 3, which is not a multiple of its ranks_per_pod, 2; make it one");
}

TEST(Pools, EveryMistakeIsToldAtOnce) {
  const std::string text = mistakes(
      "pools:\n  - name: a\n    launcher: mpirun\n    partition: x\n    maximum: many\n  - name: a\n    launcher: "
      "mpirun\n");
  EXPECT_NE(text.find("pools.yaml:4: pools.a.partition is an unknown key; there are name"), text.npos) << text;
  EXPECT_NE(text.find("pools.yaml:5: pools.a.maximum is many"), text.npos) << text;
  EXPECT_NE(text.find("pools.yaml:6: there are two pools named a"), text.npos) << text;
}

TEST(Pools, AFileWithoutPoolsIsAMistake) {
  EXPECT_NE(mistakes("{}\n").find("there is no pool"), std::string::npos);
  EXPECT_EQ(mistakes("pools: []\n"), "") << "none yet";
  EXPECT_NE(mistakes("pool: 3\n").find("pool is an unknown key"), std::string::npos);
  EXPECT_NE(mistakes("pools: 3\n").find("it must be a list"), std::string::npos);
  EXPECT_FALSE(read_pools("/nowhere/pools.yaml"));
}

// ---- Hostfiles ----

TEST(Hosts, AFileHasAHostALine) {
  const auto hosts = parse_hosts("# the lab\nnode1 slots=4\n\nnode2  # one rank\n", "hosts");
  ASSERT_TRUE(hosts) << hosts.error().message;
  EXPECT_EQ(*hosts, (std::vector<HostSlots>{{"node1", 4}, {"node2", 1}}));
  EXPECT_EQ(parse_hosts("node1\nnode2 slots=none\n", "hosts").error().message,
            "hosts:2: slots=none after host node2; it must be slots=N, from 1 on");
  EXPECT_FALSE(parse_hosts("--oversubscribe\n", "hosts"));
}

TEST(Hosts, EachGangHasSlotsOfItsOwn) {
  const std::vector<HostSlots> hosts{{"a", 4}, {"b", 2}, {"a", 1}};
  EXPECT_EQ(slice_of(hosts, {}, 5).value(), (std::vector<HostSlots>{{"a", 5}}));
  EXPECT_EQ(slice_of(hosts, {{"a", 4}}, 2).value(), (std::vector<HostSlots>{{"b", 2}}))
      << "one host where one has room";
  EXPECT_EQ(slice_of(hosts, {{"a", 4}}, 3).value(), (std::vector<HostSlots>{{"a", 1}, {"b", 2}}));
  EXPECT_EQ(slice_of(hosts, {{"a", 5}, {"gone", 3}}, 2).value(), (std::vector<HostSlots>{{"b", 2}}));
  EXPECT_NE(slice_of(hosts, {{"a", 4}}, 4)
                .error()
                .message.find("its hosts have 7 slots, of which 3 are free, and the gang needs 4"),
            std::string::npos);
}

TEST(Hosts, ThoseOfAGangThatFailedAreTakenLast) {
  const std::vector<HostSlots> hosts{{"a", 1}, {"b", 1}, {"c", 2}};
  EXPECT_EQ(slice_of(hosts, {}, 2, {"c"}).value(), (std::vector<HostSlots>{{"a", 1}, {"b", 1}}));
  EXPECT_EQ(slice_of(hosts, {{"c", 1}}, 2, {"b", "a"}).value(), (std::vector<HostSlots>{{"c", 1}, {"b", 1}}));
  EXPECT_EQ(slice_of(hosts, {}, 4, {"a"}).value(), (std::vector<HostSlots>{{"b", 1}, {"c", 2}, {"a", 1}}));
}

TEST(Hosts, MpirunNamesTheHostThatFailed) {
  const std::vector<HostSlots> slice{{"host1", 1}, {"host2", 1}};
  EXPECT_EQ(blamed_hosts(slice, "gang on host1\nssh: connect to host host2 port 22: Connection timed out\n"),
            std::vector<std::string>{"host2"});
  EXPECT_EQ(blamed_hosts(
                slice, "ORTE has lost communication with a remote daemon.\n  Remote daemon: [[1,0],1] on node host2\n"),
            std::vector<std::string>{"host2"});
  EXPECT_TRUE(blamed_hosts(slice, "gang on host1\nCUDA is missing\nssh: host22\n").empty());
}

}  // namespace
}  // namespace hivq
