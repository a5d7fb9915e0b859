// What the API server is asked, and what becomes of its answers; an HTTPS server in this process stands in for it. With
// a real cluster: tests/kubernetes.

#include "cluster/kubernetes.h"

#include <gtest/gtest.h>
#include <httplib.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include "cluster/kubernetes_objects.h"

namespace hivq {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

KubernetesPool pool_from(const std::string& fields, Pool* common = nullptr) {
  const auto pools =
      parse_pools("pools:\n  - name: cloud\n    launcher: kubernetes\n    image: worker:1\n" + fields, "pools.yaml");
  EXPECT_TRUE(pools) << pools.error().message;
  if (common != nullptr) *common = pools->at(0).pool;
  return std::get<KubernetesPool>(pools->at(0).engine);
}

// ---- Objects ----

TEST(KubernetesObjects, AnMpiJobHasALauncherAndWorkers) {
  Pool pool;
  const KubernetesPool kubernetes = pool_from(
      "    ranks: 4\n    ranks_per_pod: 2\n    resources: {limits: {nvidia.com/gpu: 2}}\n"
      "    key_secret: {name: keys, key: gang}\n    sshd: [/usr/sbin/sshd, -De]\n"
      "    template: {spec: {nodeSelector: {disk: fast}, securityContext: {runAsUser: 1000}, containers: [{name: gang, "
      "env: [{name: A, value: b}, {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}], volumeMounts: "
      "[{name: data, mountPath: /cache}]}], volumes: [{name: cache, "
      "persistentVolumeClaim: {claimName: c}}]}}\n",
      &pool);
  GangObject object{"hivq-0a1b2c3d-cloud-7", "ml", "0a1b2c3d", "tcp://hivq:4487", "public", {{"uid", "u"}}};
  object.log_json = true;
  const json job = mpi_job(pool, kubernetes, object, {"7", 4, "cloud"});
  EXPECT_EQ(job["apiVersion"], "kubeflow.org/v2beta1");
  EXPECT_EQ(job["metadata"]["labels"]["app.kubernetes.io/managed-by"], "hivq");
  EXPECT_EQ(job["metadata"]["labels"]["hivq.io/launch"], "7");
  EXPECT_EQ(job["metadata"]["ownerReferences"][0]["uid"], "u");
  EXPECT_EQ(job["spec"]["slotsPerWorker"], 2);
  const json& worker = job["spec"]["mpiReplicaSpecs"]["Worker"];
  EXPECT_EQ(worker["replicas"], 2);
  const json& pod = worker["template"]["spec"];
  EXPECT_EQ(pod["nodeSelector"]["disk"], "fast");
  EXPECT_EQ(pod["securityContext"]["runAsNonRoot"], true);
  EXPECT_EQ(pod["securityContext"]["runAsUser"], 1000);
  const json& container = pod["containers"][0];
  EXPECT_EQ(container["image"], "worker:1");
  EXPECT_EQ(container["command"], json({"/usr/sbin/sshd", "-De"}));
  EXPECT_EQ(container["resources"]["limits"]["nvidia.com/gpu"], 2);
  EXPECT_EQ(container["securityContext"]["readOnlyRootFilesystem"], true);
  EXPECT_EQ(container["env"],
            json::parse(R"([{"name": "A", "value": "b"}, )"
                        R"({"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}])"));
  EXPECT_NE(container["volumeMounts"].dump().find(R"({"mountPath":"/cache","name":"data"})"), std::string::npos);
  EXPECT_EQ(container["volumeMounts"].dump().find(R"({"mountPath":"/cache","name":"cache"})"), std::string::npos);
  EXPECT_NE(pod["volumes"].dump().find(R"({"name":"cache","persistentVolumeClaim":{"claimName":"c"}})"),
            std::string::npos);

  const json& launcher = job["spec"]["mpiReplicaSpecs"]["Launcher"]["template"]["spec"]["containers"][0];
  EXPECT_EQ(
      launcher["args"].dump(),
      R"(["-np","4","-x","HIVQ_KEY","-x","HIVQ_COORDINATOR_KEY","-x","HIVQ_LOG_JSON","-x","A","hivq-worker","--coordinator","tcp://hivq:4487",)"
      R"("--launch","7","--cache","/cache","--label","pool=cloud"])");
  EXPECT_NE(
      launcher["env"].dump().find(R"({"name":"HIVQ_KEY","valueFrom":{"secretKeyRef":{"key":"gang","name":"keys"}}})"),
      std::string::npos)
      << launcher["env"].dump();
  EXPECT_NE(launcher["env"].dump().find(R"({"name":"HIVQ_COORDINATOR_KEY","value":"public"})"), std::string::npos);
  EXPECT_FALSE(launcher["resources"].contains("limits"));
}

TEST(KubernetesObjects, WithoutAnOperatorTheFirstPodOfAJobStartsTheRanksOfAll) {
  Pool pool;
  const KubernetesPool kubernetes = pool_from(
      "    ranks: 6\n    ranks_per_pod: 2\n    resources: {limits: {nvidia.com/gpu: 2}}\n    service: gangs\n"
      "    ssh_secret: gang-ssh\n    sshd: [/usr/sbin/sshd, -De, -o, \"Banner it's\"]\n    key_secret: {name: keys}\n"
      "    template: {spec: {containers: [{name: gang, volumeMounts: [{name: data, mountPath: /data}]}], volumes: "
      "[{name: data, persistentVolumeClaim: {claimName: c}}]}}\n",
      &pool);
  const json job =
      gang_job(pool, kubernetes, {"hivq-a-cloud-7", "ml", "a", "tcp://hivq:4487", "", nullptr}, {"7", 6, "cloud"});
  const json& spec = job["spec"];
  EXPECT_EQ(spec["completionMode"], "Indexed");
  EXPECT_EQ(spec["completions"], 3);
  EXPECT_EQ(spec["parallelism"], 3);
  EXPECT_EQ(spec["backoffLimit"], 0);
  EXPECT_EQ(spec["successPolicy"]["rules"][0]["succeededIndexes"], "0");
  const json& pod = spec["template"]["spec"];
  EXPECT_EQ(pod["subdomain"], "gangs");
  const json& container = pod["containers"][0];
  EXPECT_EQ(container["resources"]["limits"]["nvidia.com/gpu"], 2);
  EXPECT_EQ(
      container["args"].dump(),
      R"(["/home/hivq/.ssh","3","2","hivq-a-cloud-7","gangs","-np","6","-x","HIVQ_KEY","--oversubscribe","--bind-to",)"
      R"("none","hivq-worker","--coordinator","tcp://hivq:4487","--launch","7","--cache","/cache","--label","pool=cloud"])");
  for (const char* mount : {"/home/hivq/.ssh", "/etc/hivq/ssh", "/data", "/tmp"}) {
    EXPECT_NE(container["volumeMounts"].dump().find(fmt::format("\"mountPath\":\"{}\"", mount)), std::string::npos)
        << mount;
  }
  EXPECT_NE(pod["volumes"].dump().find(R"("secret":{"secretName":"gang-ssh"})"), std::string::npos);

  // The shell takes the script, and the other pods become their ssh server.
  const std::string folder = testing::TempDir() + "/hivq_gang_" + std::to_string(getpid());
  fs::create_directories(folder + "/ssh");
  std::string script = container["command"][2];
  for (const auto& [text, instead] : {std::pair<std::string, std::string>{"/etc/hivq/ssh", folder},
                                      {"/usr/sbin/sshd", "printf '%s|'"},
                                      {"ssh-keygen -yf", "sed s/secret/public/"}}) {
    const size_t at = script.find(text);
    ASSERT_NE(at, std::string::npos) << text;
    script.replace(at, text.size(), instead);
  }
  std::ofstream(folder + "/script") << script;
  std::ofstream(folder + "/ssh-privatekey") << "secret";
  const std::string run =
      fmt::format("JOB_COMPLETION_INDEX=1 sh {0}/script {0}/ssh 3 2 hivq-a-cloud-7 gangs -np 6 > {0}/said", folder);
  EXPECT_EQ(std::system(run.c_str()), 0);
  const auto text_of = [&](const std::string& name) {
    std::ifstream file(folder + "/" + name);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_EQ(text_of("said"), "-De|-o|Banner it's|");
  EXPECT_EQ(text_of("ssh/id_rsa"), "secret");
  EXPECT_EQ(text_of("ssh/authorized_keys"), "public");
  fs::remove_all(folder);
}

TEST(KubernetesObjects, OfAPodsJobTheFirstStartsTheRanks) {
  const auto starts = [](const char* metadata) {
    return starts_the_ranks(json::parse(fmt::format(R"({{"metadata":{}}})", metadata)));
  };
  EXPECT_TRUE(starts("{}"));
  EXPECT_TRUE(starts(R"({"labels":{"training.kubeflow.org/job-role":"launcher"}})"));
  EXPECT_FALSE(starts(R"({"labels":{"training.kubeflow.org/job-role":"worker"}})"));
  EXPECT_TRUE(starts(R"({"annotations":{"batch.kubernetes.io/job-completion-index":"0"}})"));
  EXPECT_FALSE(starts(R"({"annotations":{"batch.kubernetes.io/job-completion-index":"1"}})"));
}

TEST(KubernetesObjects, WithoutAnOperatorAndWithoutAnSshKeyOnePodHasAllRanks) {
  Pool pool;
  const KubernetesPool kubernetes = pool_from(
      "    ranks: 3\n    resources: {requests: {cpu: 500m, memory: 2Gi}, limits: {nvidia.com/gpu: 1}}\n", &pool);
  const GangObject object{"name", "ml", "0a1b2c3d", "tcp://hivq:4487", "", nullptr};
  const json job = gang_job(pool, kubernetes, object, {"7", 3, "cloud"});
  EXPECT_EQ(job["kind"], "Job");
  EXPECT_FALSE(job["metadata"].contains("ownerReferences"));
  const json& container = job["spec"]["template"]["spec"]["containers"][0];
  EXPECT_EQ(container["command"][0], "mpirun");
  EXPECT_EQ(container["command"][2], "3");
  EXPECT_EQ(container["resources"].dump(),
            R"({"limits":{"nvidia.com/gpu":3},"requests":{"cpu":"1500m","memory":"6Gi"}})");
  EXPECT_EQ(job["spec"]["backoffLimit"], 0);
}

TEST(KubernetesObjects, APodTellsWhatIsWrongWithIt) {
  const auto said = [](const std::string& status) {
    const auto trouble = trouble_of(json::parse(R"({"metadata":{"name":"p"},"status":)" + status + "}"));
    return trouble ? trouble->text : "";
  };
  EXPECT_EQ(said(R"({"phase":"Running","containerStatuses":[{"state":{"running":{}}}]})"), "");
  EXPECT_EQ(said(R"({"containerStatuses":[{"state":{"waiting":{"reason":"ContainerCreating"}}}]})"), "");
  EXPECT_EQ(
      said(
          R"({"containerStatuses":[{"state":{"waiting":{"reason":"ImagePullBackOff","message":"Back-off pulling x"}}}]})"),
      "pod p: ImagePullBackOff: Back-off pulling x");
  EXPECT_EQ(
      said(
          R"({"conditions":[{"type":"PodScheduled","status":"False","reason":"Unschedulable","message":"0/3 nodes"}]})"),
      "pod p waits for a node: 0/3 nodes");
  EXPECT_EQ(said(R"({"containerStatuses":[{"state":{"terminated":{"reason":"OOMKilled","exitCode":137}}}]})"),
            "pod p ended with exit code 137 (OOMKilled): it ran out of memory; give the pool more in resources");
  EXPECT_EQ(said(R"({"phase":"Failed","reason":"Evicted","message":"disk pressure"})"),
            "pod p: Evicted: disk pressure");
  EXPECT_TRUE(trouble_of(json::parse(R"({"status":{"reason":"Evicted"}})"))->disrupted);
}

// ---- The API ----

class KubernetesTest : public testing::Test {
 protected:
  std::string folder_ = testing::TempDir() + "/hivq_kubernetes_" + std::to_string(getpid());
  std::unique_ptr<httplib::SSLServer> server_;
  std::thread thread_;
  int port_ = 0;
  std::mutex mutex_;
  std::vector<std::string> asked_;  // METHOD PATH TOKEN
  std::vector<json> bodies_;
  std::map<std::string, std::pair<int, std::string>> answers_;  // by METHOD PATH, without the question
  Pool pool_;
  LauncherOptions options_{
      "", "", "tcp://hivq:4487", folder_, {{"HIVQ_KEY", "a secret"}, {"HIVQ_COORDINATOR_KEY", "public"}}};
  const std::string mpijobs_ = "/apis/kubeflow.org/v2beta1/namespaces/ml/mpijobs";

  void SetUp() override {
    fs::create_directories(folder_);
    const std::string make =
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext "
        "subjectAltName=IP:127.0.0.1,DNS:localhost -keyout " +
        folder_ + "/key -out " + folder_ + "/cert 2>/dev/null";
    ASSERT_EQ(std::system(make.c_str()), 0);
    std::ofstream(folder_ + "/token") << "abc\n";
    server_ = std::make_unique<httplib::SSLServer>((folder_ + "/cert").c_str(), (folder_ + "/key").c_str());
    const auto answer = [this](const httplib::Request& request, httplib::Response& response) {
      const std::lock_guard lock(mutex_);
      asked_.push_back(request.method + " " + request.target + " " + request.get_header_value("Authorization"));
      if (!request.body.empty()) bodies_.push_back(json::parse(request.body));
      const auto found = answers_.find(request.method + " " + request.path);
      response.status = found == answers_.end() ? 404 : found->second.first;
      response.set_content(found == answers_.end() ? R"({"message":"not found"})" : found->second.second,
                           "application/json");
    };
    server_->Get(".*", answer);
    server_->Post(".*", answer);
    server_->Delete(".*", answer);
    port_ = server_->bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_->listen_after_bind(); });
    while (!server_->is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  void TearDown() override {
    if (server_) server_->stop();
    if (thread_.joinable()) thread_.join();
    fs::remove_all(folder_);
  }
  std::unique_ptr<Engine> engine(const std::string& fields = "", const std::string& ca = "cert") {
    const KubernetesPool kubernetes =
        pool_from(fmt::format("    ranks: 2\n    namespace: ml\n    api: https://127.0.0.1:{}\n    token_file: "
                              "{}/token\n    ca_file: {}/{}\n{}",
                              port_, folder_, folder_, ca, fields),
                  &pool_);
    auto made = make_kubernetes(pool_, kubernetes, options_, "0a1b2c3d", Log("test", Level::error));
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }
  void answer(const std::string& question, int status, const std::string& text) { answers_[question] = {status, text}; }
};

TEST_F(KubernetesTest, AGangIsAnMpiJobWhereTheOperatorIsThere) {
  answer("GET /apis/kubeflow.org/v2beta1", 200, "{}");
  answer("POST " + mpijobs_, 201, "{}");
  const auto said = engine()->submit({{"7", 2, "cloud"}}).at(0);
  ASSERT_TRUE(std::holds_alternative<std::string>(said)) << std::get<Refusal>(said).reason;
  EXPECT_EQ(std::get<std::string>(said), "mpijob:hivq-0a1b2c3d-cloud-7");
  ASSERT_EQ(asked_.size(), 2u);
  EXPECT_EQ(asked_[1], "POST " + mpijobs_ + " Bearer abc");
  ASSERT_EQ(bodies_.size(), 1u);
  EXPECT_EQ(bodies_[0].dump().find("a secret"), std::string::npos);
  EXPECT_NE(bodies_[0].dump().find("\"public\""), std::string::npos);
  answer("POST " + mpijobs_, 409, R"({"message":"already exists"})");
  std::ofstream(folder_ + "/token") << "renewed";
  EXPECT_TRUE(std::holds_alternative<std::string>(engine()->submit({{"7", 2, "cloud"}}).at(0)))
      << "asking again does no harm";
  EXPECT_NE(asked_.back().find("Bearer renewed"), std::string::npos);
}

TEST_F(KubernetesTest, AndAJobWhereItIsNot) {
  answer("POST /apis/batch/v1/namespaces/ml/jobs", 201, "{}");
  EXPECT_EQ(std::get<std::string>(engine()->submit({{"7", 2, "cloud"}}).at(0)), "job:hivq-0a1b2c3d-cloud-7");
}

TEST_F(KubernetesTest, ARefusalIsASentence) {
  answer("GET /apis/kubeflow.org/v2beta1", 200, "{}");
  answer("POST " + mpijobs_, 403, R"({"message":"mpijobs is forbidden"})");
  EXPECT_EQ(
      std::get<Refusal>(engine()->submit({{"7", 2, "cloud"}}).at(0)).reason,
      "Kubernetes refuses the gang: the API server says 403: mpijobs is forbidden; the coordinator's service account "
      "needs the right to create it");
  answer("POST " + mpijobs_, 404, "");
  EXPECT_NE(std::get<Refusal>(engine()->submit({{"7", 2, "cloud"}}).at(0)).reason.find("operator: job"),
            std::string::npos);
  answer("POST " + mpijobs_, 503, "busy");
  EXPECT_TRUE(std::get<Refusal>(engine()->submit({{"7", 2, "cloud"}}).at(0)).blameless);
  // Another CA's certificate.
  const auto wrong = engine("", "wrong");
  const std::string make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=other -keyout /dev/null -out " +
                           folder_ + "/wrong 2>/dev/null";
  ASSERT_EQ(std::system(make.c_str()), 0);
  const Refusal refusal = std::get<Refusal>(wrong->submit({{"7", 2, "cloud"}}).at(0));
  EXPECT_NE(refusal.reason.find("is not signed by ca_file"), std::string::npos) << refusal.reason;
}

TEST_F(KubernetesTest, TheListTellsOfAllGangsAndWhyTheyAreNotThere) {
  const auto item = [](const std::string& launch, const std::string& conditions) {
    return R"({"metadata":{"labels":{"hivq.io/launch":")" + launch + R"("}},"status":{"conditions":[)" + conditions +
           "]}}";
  };
  answer("GET " + mpijobs_, 200,
         R"({"items":[)" + item("1", R"({"type":"Running","status":"True"})") + "," +
             item("2", R"({"type":"Created","status":"True"})") + "," + item("3", "") + "," +
             item("4", R"({"type":"Failed","status":"True","message":"launcher failed"})") + "]}");
  answer("GET /apis/batch/v1/namespaces/ml/jobs", 200, R"({"items":[]})");
  answer("GET /api/v1/namespaces/ml/pods", 200, R"({"items":[
    {"metadata":{"name":"a","labels":{"hivq.io/launch":"2"}},"status":{"conditions":[{"type":"PodScheduled","status":"False","message":"no room"}]}},
    {"metadata":{"name":"b","labels":{"hivq.io/launch":"3"}},"status":{"containerStatuses":[{"state":{"waiting":{"reason":"ErrImagePull","message":"x"}}}]}}]})");
  const auto list = engine()->list();
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_EQ(list->at("1").phase, EngineState::Phase::running);
  EXPECT_EQ(list->at("2").phase, EngineState::Phase::queued);
  EXPECT_EQ(list->at("2").text, "pod a waits for a node: no room");
  EXPECT_EQ(list->at("3").phase, EngineState::Phase::starting);
  EXPECT_EQ(list->at("3").text, "pod b: ErrImagePull: x");
  EXPECT_EQ(list->at("4").phase, EngineState::Phase::ended);
  EXPECT_NE(
      asked_[0].find(
          "?labelSelector=app.kubernetes.io%2Fmanaged-by%3Dhivq%2Chivq.io%2Fowner%3D0a1b2c3d%2Chivq.io%2Fpool%3Dcloud"),
      std::string::npos)
      << asked_[0];
  server_->stop();
  thread_.join();
  EXPECT_NE(engine()->list().error().message.find("does not answer"), std::string::npos);
}

TEST_F(KubernetesTest, AJobOfSeveralPodsRunsWithAllOfThemAndEndsWithItsFirst) {
  const auto item = [](const std::string& launch, const std::string& status) {
    return R"({"metadata":{"labels":{"hivq.io/launch":")" + launch + R"("}},"spec":{"completions":3},"status":{)" +
           status + "}}";
  };
  answer("GET /apis/batch/v1/namespaces/ml/jobs", 200,
         R"({"items":[)" + item("1", R"("ready":2)") + "," + item("2", R"("ready":3)") + "," +
             item("5", R"("conditions":[{"type":"FailureTarget","status":"True","message":"a pod failed"}])") + "," +
             item("3", R"("ready":2,"completedIndexes":"0")") + "," +
             item("4", R"("ready":1,"completedIndexes":"1,2")") + "]}");
  answer("GET /api/v1/namespaces/ml/pods", 200, R"({"items":[]})");
  const auto list = engine()->list();
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_EQ(list->at("1").phase, EngineState::Phase::starting);
  EXPECT_EQ(list->at("2").phase, EngineState::Phase::running);
  EXPECT_EQ(list->at("3").phase, EngineState::Phase::ended);
  EXPECT_EQ(list->at("4").phase, EngineState::Phase::starting);
  EXPECT_EQ(list->at("5").phase, EngineState::Phase::ended) << "while its pods can still be asked why";
}

TEST_F(KubernetesTest, TheEndIsToldWithThePodsReasonAndItsLastLines) {
  answer("GET /api/v1/namespaces/ml/pods", 200, R"({"items":[
    {"metadata":{"name":"l","labels":{"training.kubeflow.org/job-role":"launcher"}},"status":{"containerStatuses":[{"state":{"terminated":{"exitCode":1}}}]}},
    {"metadata":{"name":"w","labels":{"training.kubeflow.org/job-role":"worker"}},"status":{"containerStatuses":[{"state":{"terminated":{"exitCode":137,"reason":"OOMKilled"}}}]}}]})");
  answer("GET /api/v1/namespaces/ml/pods/l/log", 200, "one\nrank 1 was lost\n");
  fs::create_directories(folder_ + "/gangs");
  const EngineState last{EngineState::Phase::ended, "mpijob:x", "failed: launcher failed", false};
  const EngineState end = engine()->how_it_ended({"7", "mpijob:x", 2, "cloud"}, last);
  EXPECT_EQ(end.text,
            "mpijob:x failed: launcher failed: pod w ended with exit code 137 (OOMKilled): it ran out of memory; "
            "give the pool more in resources: one | rank 1 was lost");
  EXPECT_TRUE(fs::exists(folder_ + "/gangs/7.log"));
}

TEST_F(KubernetesTest, ACancelDeletesInTheBackground) {
  answer("DELETE " + mpijobs_ + "/hivq-0a1b2c3d-cloud-7", 200, "{}");
  EXPECT_TRUE(engine()->cancel({"7", "mpijob:hivq-0a1b2c3d-cloud-7", 2, "cloud"}));
  ASSERT_EQ(bodies_.size(), 1u);
  EXPECT_EQ(bodies_[0]["propagationPolicy"], "Background");
  asked_.clear();
  EXPECT_TRUE(engine()->cancel({"8", "", 2, "cloud"})) << "one that is not known";
  EXPECT_EQ(asked_.size(), 2u) << "as what it was made is not known";
  asked_.clear();
  EXPECT_TRUE(engine("    operator: job\n")->cancel({"8", "", 2, "cloud"}));
  EXPECT_EQ(asked_.size(), 1u) << "of MPIJobs nothing may be asked";
}

TEST_F(KubernetesTest, TheGangBelongsToTheCoordinatorsObject) {
  // Only in its own namespace, which it knows in a pod alone: here none is asked for.
  setenv("HIVQ_OWNER_NAME", "hivq", 1);
  answer("GET /apis/kubeflow.org/v2beta1", 200, "{}");
  answer("POST " + mpijobs_, 201, "{}");
  (void)engine()->submit({{"7", 2, "cloud"}}).at(0);
  unsetenv("HIVQ_OWNER_NAME");
  EXPECT_FALSE(bodies_.at(0)["metadata"].contains("ownerReferences"));
}

TEST(Kubernetes, OutsideOfAClusterItMustBeSaidWhereOneIs) {
  unsetenv("KUBERNETES_SERVICE_HOST");
  Pool pool;
  const KubernetesPool kubernetes = pool_from("", &pool);
  const auto made = make_kubernetes(pool, kubernetes, {}, "0a1b2c3d", Log("test", Level::error));
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().message,
            "pool cloud needs a Kubernetes cluster, but the coordinator runs in no pod; say where it is "
            "with api, token_file and ca_file");
}

}  // namespace
}  // namespace hivq
