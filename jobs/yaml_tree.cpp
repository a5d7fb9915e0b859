#include "jobs/yaml_tree.h"

#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <sstream>

namespace hivq {

namespace {

constexpr size_t max_bytes = 1 << 20;
constexpr size_t max_nodes = 100'000;
constexpr const char* text_tag = "tag:yaml.org,2002:str";

size_t count(const YamlNode& node) {
  size_t nodes = 1;
  for (const auto& item : node.items) nodes += count(item);
  for (const auto& key : node.keys) nodes += count(key);
  return nodes;
}

// What is valid YAML but not wanted here; thrown through the parser.
struct Refusal {
  std::string where;
  std::string why;
};

// Builds the tree from the parser's events.
class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& name, bool with_lines) : name_(name), with_lines_(with_lines) {}

  YamlNode take() { return std::move(root_); }

  std::string where(const YAML::Mark& mark) const {
    return with_lines_ && !mark.is_null() ? fmt::format("{}:{}", name_, mark.line + 1) : name_;
  }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnAnchor(const YAML::Mark&, const std::string&) override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    open(mark, YamlNode::Kind::null, anchor);
    close();
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    refuse_tag(mark, tag);
    YamlNode& node = open(mark, YamlNode::Kind::scalar, anchor);
    node.text = value;
    node.quoted = tag == "!" || tag == text_tag;
    close();
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto found = anchored_.find(anchor);
    if (found == anchored_.end()) throw Refusal{where(mark), "this alias stands inside of what it refers to"};
    grow(mark, count(found->second));
    stack_.push_back({found->second, 0});
    stack_.back().node.where = where(mark);
    close();
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    refuse_tag(mark, tag);
    open(mark, YamlNode::Kind::list, anchor);
  }
  void OnSequenceEnd() override { close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    refuse_tag(mark, tag);
    open(mark, YamlNode::Kind::map, anchor);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    YamlNode node;
    YAML::anchor_t anchor;  // 0: none
  };

  void refuse_tag(const YAML::Mark& mark, const std::string& tag) const {
    if (tag.empty() || tag == "?" || tag == "!" || tag == text_tag) return;
    throw Refusal{where(mark), fmt::format("the tag {} has no meaning here; leave it out", shown(tag))};
  }

  void grow(const YAML::Mark& mark, size_t nodes) {
    nodes_ += nodes;
    if (nodes_ > max_nodes) {
      throw Refusal{where(mark), fmt::format("the text has more than {} values, aliases counted", max_nodes)};
    }
  }

  YamlNode& open(const YAML::Mark& mark, YamlNode::Kind kind, YAML::anchor_t anchor) {
    grow(mark, 1);
    stack_.push_back({{}, anchor});
    YamlNode& node = stack_.back().node;
    node.kind = kind;
    node.where = where(mark);
    return node;
  }

  // The node on top is complete: it becomes the next key or item of the one below.
  void close() {
    Open done = std::move(stack_.back());
    stack_.pop_back();
    if (done.anchor != 0) {
      grow(YAML::Mark::null_mark(), count(done.node));
      anchored_[done.anchor] = done.node;
    }
    if (stack_.empty()) {
      root_ = std::move(done.node);
      return;
    }
    YamlNode& parent = stack_.back().node;
    bool is_key = parent.kind == YamlNode::Kind::map && parent.keys.size() == parent.items.size();
    if (done.node.kind == YamlNode::Kind::null && !is_key && parent.kind == YamlNode::Kind::map) {
      done.node.where = parent.keys.back().where;  // the parser puts what is not there at the next thing that is
    }
    (is_key ? parent.keys : parent.items).push_back(std::move(done.node));
  }

  std::string name_;
  bool with_lines_;
  YamlNode root_;
  std::vector<Open> stack_;
  std::map<YAML::anchor_t, YamlNode> anchored_;
  size_t nodes_ = 0;
};

// The 1-based number of the first line that a tab indents; 0 for none.
size_t tab_line(const std::string& text) {
  std::istringstream lines(text);
  std::string line;
  for (size_t number = 1; std::getline(lines, line); ++number) {
    size_t first = line.find_first_not_of(' ');
    if (first != std::string::npos && line[first] == '\t') return number;
  }
  return 0;
}

}  // namespace

Result<YamlNode> parse_yaml(const std::string& text, const std::string& name, bool with_lines) {
  if (text.size() > max_bytes) {
    return error("{}: it has {} bytes; it must have at most {}", name, text.size(), max_bytes);
  }
  TreeBuilder builder(name, with_lines);
  try {
    std::istringstream input(text);
    YAML::Parser parser(input);
    if (!parser.HandleNextDocument(builder)) return error("{}: it is empty", name);
    YamlNode root = builder.take();
    TreeBuilder second(name, with_lines);
    if (parser.HandleNextDocument(second)) {
      return error("{}: a second document begins here; keep one to a file", second.take().where);
    }
    return root;
  } catch (const Refusal& refusal) {
    return error("{}: {}", refusal.where, refusal.why);
  } catch (const YAML::DeepRecursion& e) {
    return error("{}: the text is nested too deeply", builder.where(e.mark));
  } catch (const YAML::Exception& e) {
    if (size_t line = tab_line(text); line != 0 && with_lines) {
      return error("{}:{}: a tab indents this line; YAML wants spaces", name, line);
    }
    return error("{}: this is not valid YAML: {}; check indentation, colons, brackets and quotes",
                 builder.where(e.mark), shown(e.msg));
  } catch (const std::exception& e) {
    return error("{}: this is not valid YAML: {}", name, shown(e.what()));
  }
}

std::string shown(const std::string& text) {
  constexpr size_t longest = 60;
  std::string clean = text.substr(0, longest);
  if (text.size() > longest) {
    while (!clean.empty() && (text[clean.size()] & 0xC0) == 0x80) clean.pop_back();  // whole UTF-8 characters only
    clean += "…";
  }
  for (char& c : clean) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return clean;
}

std::string shown(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::null:
      return "empty";
    case YamlNode::Kind::scalar:
      return node.quoted ? '"' + shown(node.text) + '"' : shown(node.text);
    case YamlNode::Kind::list:
      return "a list";
    case YamlNode::Kind::map:
      return "a section";
  }
  return "";
}

}  // namespace hivq
