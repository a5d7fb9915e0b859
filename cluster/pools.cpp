#include "cluster/pools.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>
#include <set>
#include <sstream>

#include "jobs/yaml_entries.h"

namespace hivq {

namespace {

constexpr uint64_t most_gangs = 10'000, most_ranks = 100'000;

/// Names are values of labels, and parts of the names of Slurm's and Kubernetes' objects.
bool is_name(const std::string& text) {
  const auto plain = [](unsigned char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return !text.empty() && text.size() <= 24 && std::all_of(text.begin(), text.end(), plain) && text.front() != '-' &&
         text.back() != '-';
}

/// Collects mistakes, each `where: sentence`.
class PoolsReader {
 public:
  Result<std::vector<PoolSpec>> read(const YamlNode& root) {
    const YamlNode* list = nullptr;
    each_entry(root, "the file", [&](const std::string& key, const YamlNode& at, const YamlNode& value) {
      if (key != "pools") return mistake(at, fmt::format("{} is an unknown key; there is pools", shown(key)));
      list = &value;
    });
    if (list != nullptr && list->kind != YamlNode::Kind::list) {
      mistake(*list, fmt::format("pools is {}; it must be a list: a pool begins with `- name: …`", shown(*list)));
    } else if (list == nullptr) {
      if (mistakes_.empty()) mistake(root, "there is no pool; it must have a list `pools`, as in cluster/README.md");
    } else {
      for (const YamlNode& pool : list->items) read_pool(pool);
    }
    if (!mistakes_.empty()) return Error{fmt::format("{}", fmt::join(mistakes_, "\n"))};
    return std::move(pools_);
  }

 private:
  void mistake(const YamlNode& at, const std::string& sentence) { mistakes_.push_back(at.where + ": " + sentence); }

  /// Calls read(key, key's node, value) for each entry of a map, each key once.
  template <typename Read>
  void each_entry(const YamlNode& node, const std::string& name, const Read& read) {
    hivq::each_entry(node, name, read, [this](const YamlNode& at, const std::string& what) { mistake(at, what); });
  }

  // ---- Values ----

  bool read_text(const YamlNode& node, const std::string& name, std::string& text) {
    const bool fine = node.kind == YamlNode::Kind::scalar && !node.text.empty() &&
                      node.text.find_first_of("\r\n") == std::string::npos;
    if (fine) {
      text = node.text;
    } else {
      mistake(node, fmt::format("{} is {}; it must be a text of one line", name, shown(node)));
    }
    return fine;
  }

  void read_whole(const YamlNode& node, const std::string& name, uint64_t low, uint64_t high, uint64_t& number) {
    uint64_t value = 0;
    const char* end = node.text.data() + node.text.size();
    const auto [stop, failed] = std::from_chars(node.text.data(), end, value);
    if (node.kind == YamlNode::Kind::scalar && !node.quoted && failed == std::errc() && stop == end && value >= low &&
        value <= high) {
      number = value;
    } else {
      mistake(node, fmt::format("{} is {}; it must be a whole number from {} to {}", name, shown(node), low, high));
    }
  }

  /// `90s`, `5m`, `2h`; `never` is 0.
  void read_time(const YamlNode& node, const std::string& name, bool never, Millis& time) {
    int64_t value = 0;
    const std::string& text = node.text;
    const auto [stop, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    const std::string_view unit(stop, text.data() + text.size());
    const Millis scale = unit == "s" ? 1000 : unit == "m" ? 60'000 : unit == "h" ? 3'600'000 : 0;
    if (node.kind == YamlNode::Kind::scalar && never && text == "never") {
      time = 0;
    } else if (node.kind == YamlNode::Kind::scalar && failed == std::errc() && scale > 0 && value > 0 &&
               value <= 100'000) {
      time = value * scale;
    } else {
      mistake(node, fmt::format("{} is {}; it must be a time such as 90s, 5m or 2h{}", name, shown(node),
                                never ? ", or never" : ""));
    }
  }

  void read_flag(const YamlNode& node, const std::string& name, bool& flag) {
    if (node.kind == YamlNode::Kind::scalar && !node.quoted && (node.text == "true" || node.text == "false")) {
      flag = node.text == "true";
    } else {
      mistake(node, fmt::format("{} is {}; it must be true or false", name, shown(node)));
    }
  }

  void read_texts(const YamlNode& node, const std::string& name, std::vector<std::string>& texts) {
    if (node.kind != YamlNode::Kind::list) {
      return mistake(node, fmt::format("{} is {}; it must be a list, such as [--verbose]", name, shown(node)));
    }
    for (const YamlNode& item : node.items) {
      std::string text;
      if (read_text(item, name, text)) texts.push_back(std::move(text));
    }
  }

  template <typename Choice>
  void read_choice(const YamlNode& node, const std::string& name,
                   const std::vector<std::pair<std::string, Choice>>& all, Choice& choice) {
    std::string words;
    for (const auto& [word, value] : all) {
      if (node.kind == YamlNode::Kind::scalar && node.text == word) {
        choice = value;
        return;
      }
      words += (words.empty() ? "" : ", ") + word;
    }
    mistake(node, fmt::format("{} is {}; it must be one of {}", name, shown(node), words));
  }

  void read_labels(const YamlNode& node, const std::string& name, Labels& labels) {
    each_entry(node, name, [&](const std::string& key, const YamlNode& at, const YamlNode& value) {
      if (key == pool_label) return mistake(at, fmt::format("{}.pool is the pool's name; leave it out", name));
      if (key.empty() || key.find('=') != std::string::npos) {
        return mistake(at, fmt::format("{} has the key {}; it must be a word without '='", name, shown(key)));
      }
      read_text(value, name + "." + key, labels[key]);
    });
  }

  void read_hosts(const YamlNode& node, const std::string& name, HostfilePool& pool) {
    if (node.kind == YamlNode::Kind::scalar && !node.text.empty()) {
      pool.hosts_file = node.text;
      return;
    }
    if (node.kind != YamlNode::Kind::list || node.items.empty()) {
      return mistake(node, fmt::format("{} is {}; it must be a file, or a list such as [node1 slots=4, node2 slots=4]",
                                       name, shown(node)));
    }
    for (const YamlNode& item : node.items) {
      std::string line;
      if (!read_text(item, name, line)) continue;
      auto hosts = parse_hosts(line, item.where);
      if (!hosts) {
        mistake(item, fmt::format("{}: {}", name, hosts.error().message.substr(hosts.error().message.find(": ") + 2)));
      } else {
        pool.hosts.insert(pool.hosts.end(), hosts->begin(), hosts->end());
      }
    }
  }

  // ---- Engines: false where the key is none of theirs ----

  bool read_field(const std::string& key, const std::string& name, const YamlNode& value, MpirunPool& pool) {
    if (key == "mpirun") return read_texts(value, name, pool.mpirun), true;
    if (key == "cache") return read_text(value, name, pool.cache), true;
    return false;
  }

  bool read_field(const std::string& key, const std::string& name, const YamlNode& value, HostfilePool& pool) {
    if (key == "hosts") return read_hosts(value, name, pool), true;
    if (key == "mpirun") return read_texts(value, name, pool.mpirun), true;
    if (key == "worker") return read_text(value, name, pool.worker), true;
    if (key == "cache") return read_text(value, name, pool.cache), true;
    return false;
  }

  bool read_field(const std::string& key, const std::string& name, const YamlNode& value, SlurmPool& pool) {
    using Start = SlurmPool::Start;
    if (key == "partition") return read_text(value, name, pool.partition), true;
    if (key == "account") return read_text(value, name, pool.account), true;
    if (key == "qos") return read_text(value, name, pool.qos), true;
    if (key == "time") return read_text(value, name, pool.time), true;
    if (key == "nodes") return read_whole(value, name, 1, most_ranks, pool.nodes), true;
    if (key == "sbatch") return read_texts(value, name, pool.sbatch), true;
    if (key == "mpirun") return read_texts(value, name, pool.mpirun), true;
    if (key == "worker") return read_text(value, name, pool.worker), true;
    if (key == "cache") return read_text(value, name, pool.cache), true;
    if (key == "requeue") return read_flag(value, name, pool.requeue), true;
    if (key == "export") return read_text(value, name, pool.export_variables), true;
    if (key == "poll") return read_time(value, name, false, pool.poll), true;
    if (key == "start") {
      read_choice<Start>(value, name, {{"auto", Start::automatic}, {"srun", Start::srun}, {"mpirun", Start::mpirun}},
                         pool.start);
      return true;
    }
    return false;
  }

  bool read_field(const std::string& key, const std::string& name, const YamlNode& value, KubernetesPool& pool) {
    using Operator = KubernetesPool::Operator;
    if (key == "api") return read_text(value, name, pool.api), true;
    if (key == "token_file") return read_text(value, name, pool.token_file), true;
    if (key == "ca_file") return read_text(value, name, pool.ca_file), true;
    if (key == "namespace") return read_text(value, name, pool.kube_namespace), true;
    if (key == "image") return read_text(value, name, pool.image), true;
    if (key == "pull_policy") return read_text(value, name, pool.pull_policy), true;
    if (key == "ranks_per_pod") return read_whole(value, name, 1, most_ranks, pool.ranks_per_pod), true;
    if (key == "worker") return read_text(value, name, pool.worker), true;
    if (key == "cache") return read_text(value, name, pool.cache), true;
    if (key == "ssh_folder") return read_text(value, name, pool.ssh_folder), true;
    if (key == "service") return read_text(value, name, pool.service), true;
    if (key == "ssh_secret") return read_text(value, name, pool.ssh_secret), true;
    if (key == "sshd") return read_texts(value, name, pool.sshd), true;
    if (key == "mpirun") return read_texts(value, name, pool.mpirun), true;
    if (key == "poll") return read_time(value, name, false, pool.poll), true;
    if (key == "resources" || key == "template") {
      if (value.kind != YamlNode::Kind::map) {
        mistake(value, fmt::format("{} is {}; it must be a section as Kubernetes has it", name, shown(value)));
      }
      (key == "resources" ? pool.resources : pool.template_) = value;
      return true;
    }
    if (key == "key_secret") {
      each_entry(value, name, [&](const std::string& field, const YamlNode& at, const YamlNode& given) {
        if (field == "name") return void(read_text(given, name + ".name", pool.key_secret_name));
        if (field == "key") return void(read_text(given, name + ".key", pool.key_secret_key));
        mistake(at, fmt::format("{}.{} is an unknown key; there are name, key", name, shown(field)));
      });
      return true;
    }
    if (key == "operator") {
      read_choice<Operator>(value, name,
                            {{"auto", Operator::automatic}, {"mpijob", Operator::mpijob}, {"job", Operator::job}},
                            pool.engine);
      return true;
    }
    return false;
  }

  static const char* fields_of(const PoolSpec& spec) {
    if (std::holds_alternative<MpirunPool>(spec.engine)) return "mpirun, cache";
    if (std::holds_alternative<HostfilePool>(spec.engine)) return "hosts, mpirun, worker, cache";
    if (std::holds_alternative<SlurmPool>(spec.engine)) {
      return "partition, account, qos, time, nodes, sbatch, start, mpirun, worker, cache, requeue, export, poll";
    }
    return "image, pull_policy, namespace, resources, ranks_per_pod, template, key_secret, operator, worker, cache, "
           "ssh_folder, sshd, service, ssh_secret, mpirun, api, token_file, ca_file, poll";
  }

  // ---- A pool ----

  /// Which fields it may have depends on it.
  bool read_launcher(const YamlNode& node, const std::string& where, PoolSpec& spec) {
    const YamlNode* launcher = nullptr;
    for (size_t i = 0; i < node.items.size(); ++i) {
      if (node.keys[i].text == "launcher") launcher = &node.items[i];
    }
    const std::string word = launcher == nullptr ? "" : launcher->text;
    if (word == "mpirun") spec.engine = MpirunPool();
    if (word == "hostfile") spec.engine = HostfilePool();
    if (word == "slurm") spec.engine = SlurmPool();
    if (word == "kubernetes") spec.engine = KubernetesPool();
    if (word == "mpirun" || word == "hostfile" || word == "slurm" || word == "kubernetes") return true;
    mistake(launcher == nullptr ? node : *launcher,
            fmt::format("{}.launcher is {}; it must be one of mpirun, hostfile, slurm, kubernetes", where,
                        launcher == nullptr ? "missing" : shown(*launcher)));
    return false;
  }

  void read_pool(const YamlNode& node) {
    PoolSpec spec;
    Pool& pool = spec.pool;
    pool.name.clear();
    if (node.kind != YamlNode::Kind::map) {
      return mistake(node, fmt::format("a pool is {}; it must begin with `- name: …`", shown(node)));
    }
    std::string where = fmt::format("pools.{}", pools_.size() + 1);
    for (size_t i = 0; i < node.items.size(); ++i) {
      if (node.keys[i].text == "name" && is_name(node.items[i].text)) where = "pools." + node.items[i].text;
    }
    if (!read_launcher(node, where, spec)) return;
    const bool engine_starts_late = spec.engine.index() >= 2;
    pool.idle = 300'000;
    pool.start_within = engine_starts_late ? 600'000 : 180'000;
    pool.stays = engine_starts_late;
    each_entry(node, where, [&](const std::string& key, const YamlNode& at, const YamlNode& value) {
      const std::string name = where + "." + key;
      if (key == "launcher") return;
      if (key == "name") return read_name(value, name, pool.name);
      if (key == "ranks") return read_whole(value, name, 1, most_ranks, pool.ranks);
      if (key == "minimum") return read_whole(value, name, 0, most_gangs, pool.minimum);
      if (key == "maximum") return read_whole(value, name, 0, most_gangs, pool.maximum);
      if (key == "idle") return read_time(value, name, true, pool.idle);
      if (key == "start_within") return read_time(value, name, false, pool.start_within);
      if (key == "labels") return read_labels(value, name, pool.labels);
      if (std::visit([&](auto& engine) { return read_field(key, name, value, engine); }, spec.engine)) return;
      mistake(at, fmt::format("{} is an unknown key; there are name, launcher, ranks, minimum, maximum, idle, "
                              "start_within, labels, and of this launcher {}",
                              name, fields_of(spec)));
    });
    check(node, where, spec);
    pools_.push_back(std::move(spec));
  }

  void read_name(const YamlNode& node, const std::string& name, std::string& text) {
    if (!is_name(node.text)) {
      return mistake(node,
                     fmt::format("{} is {}; it must be small letters, digits and '-', 24 at most", name, shown(node)));
    }
    if (!names_.insert(node.text).second) {
      return mistake(node, fmt::format("there are two pools named {}; give one another name", node.text));
    }
    text = node.text;
  }

  void check(const YamlNode& node, const std::string& where, PoolSpec& spec) {
    Pool& pool = spec.pool;
    if (pool.name.empty() && mistakes_.empty()) mistake(node, fmt::format("{}.name is missing; give it one", where));
    if (pool.minimum > pool.maximum) {
      mistake(node, fmt::format("{}.minimum is {}, and its maximum {}; it must not be more", where, pool.minimum,
                                pool.maximum));
    }
    if (auto* hostfile = std::get_if<HostfilePool>(&spec.engine); hostfile != nullptr) {
      const auto is_hosts = [](const YamlNode& key) { return key.text == "hosts"; };
      if (std::none_of(node.keys.begin(), node.keys.end(), is_hosts)) {
        mistake(node, fmt::format("{}.hosts is missing; name a file, or a list such as [node1 slots=4]", where));
      }
      uint64_t slots = 0;
      for (const HostSlots& host : hostfile->hosts) slots += host.slots;
      if (!hostfile->hosts.empty() && pool.ranks > slots) {
        mistake(node, fmt::format("{}.ranks is {}, but its hosts have {} slots; give them more, or gangs fewer ranks",
                                  where, pool.ranks, slots));
      }
    }
    if (auto* slurm = std::get_if<SlurmPool>(&spec.engine); slurm != nullptr) pool.returns = slurm->requeue;
    auto* kubernetes = std::get_if<KubernetesPool>(&spec.engine);
    if (kubernetes == nullptr) return;
    if (kubernetes->image.empty()) mistake(node, fmt::format("{}.image is missing; name that of the worker", where));
    if (!kubernetes->api.empty() && !kubernetes->api.starts_with("https://") &&
        !kubernetes->api.starts_with("http://")) {
      mistake(node, fmt::format("{}.api is {}; it must be https://HOST:PORT", where, kubernetes->api));
    }
    if (kubernetes->service.empty() != kubernetes->ssh_secret.empty()) {
      const bool named = !kubernetes->service.empty();
      mistake(node, fmt::format("{}.{} is missing; without the MPI operator a gang of several pods needs it beside {}",
                                where, named ? "ssh_secret" : "service", named ? "service" : "ssh_secret"));
    }
    if (pool.ranks % kubernetes->ranks_per_pod != 0) {
      mistake(node, fmt::format("{}.ranks is {}, which is not a multiple of its ranks_per_pod, {}; make it one", where,
                                pool.ranks, kubernetes->ranks_per_pod));
    }
  }

  std::vector<PoolSpec> pools_;
  std::set<std::string> names_;
  std::vector<std::string> mistakes_;
};

}  // namespace

Result<std::vector<HostSlots>> parse_hosts(const std::string& text, const std::string& file) {
  std::vector<HostSlots> hosts;
  std::istringstream lines(text);
  uint64_t number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    std::istringstream words(line.substr(0, line.find('#')));
    HostSlots host;
    if (!(words >> host.host)) continue;
    if (host.host.starts_with('-') || host.host.find_first_of(",:\"'`$;&|") != std::string::npos) {
      return error("{}:{}: {} is no host's name", file, number, shown(host.host));
    }
    for (std::string word; words >> word;) {
      const std::string_view slots = "slots=";
      uint64_t count = 0;
      const auto [stop, failed] =
          std::from_chars(word.data() + std::min(word.size(), slots.size()), word.data() + word.size(), count);
      if (!word.starts_with(slots) || failed != std::errc() || stop != word.data() + word.size() || count == 0 ||
          count > most_ranks) {
        return error("{}:{}: {} after host {}; it must be slots=N, from 1 on", file, number, shown(word), host.host);
      }
      host.slots = count;
    }
    hosts.push_back(std::move(host));
  }
  return hosts;
}

Result<std::vector<PoolSpec>> parse_pools(const std::string& text, const std::string& file) {
  auto root = parse_yaml(text, file, true);
  if (!root) return root.error();
  return PoolsReader().read(*root);
}

Result<std::vector<PoolSpec>> read_pools(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return error("cannot read the pools {}: {}; name another file with --pools", path, std::strerror(errno));
  return parse_pools({std::istreambuf_iterator<char>(file), {}}, path);
}

}  // namespace hivq
