#include "worker/data/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <vector>

#include "worker/data/file.h"

namespace hivq {
namespace {

using Json = nlohmann::json;

static_assert(std::endian::native == std::endian::little, "safetensors data is little-endian");

constexpr size_t kLengthBytes = 8;                  // the header's length, before the header
constexpr uint64_t kMaxHeaderBytes = 100'000'000;   // the reference implementation's limit
constexpr int64_t kMaxElements = int64_t{1} << 48;  // far above any file; keeps products of dimensions in range

struct TypeName {
  const char* name;
  at::ScalarType type;
};
constexpr TypeName kTypes[] = {{"F64", at::kDouble}, {"F32", at::kFloat}, {"F16", at::kHalf}, {"BF16", at::kBFloat16},
                               {"I64", at::kLong},   {"I32", at::kInt},   {"U8", at::kByte},  {"BOOL", at::kBool}};

std::optional<at::ScalarType> type_of(std::string_view name) {
  for (const TypeName& type : kTypes) {
    if (name == type.name) return type.type;
  }
  return std::nullopt;
}

const char* name_of(at::ScalarType wanted) {
  for (const TypeName& type : kTypes) {
    if (wanted == type.type) return type.name;
  }
  panic(fmt::format("safetensors cannot hold the type {}", c10::toString(wanted)));
}

/// One tensor of the header, checked against itself and against the size of the data.
struct Entry {
  std::string name;
  at::ScalarType type = at::kFloat;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // bytes within the data section
};

/// The number of elements, or nothing where a dimension is no plain count or the product is absurd.
std::optional<int64_t> read_shape(const Json& json, std::vector<int64_t>& shape) {
  if (!json.is_array()) return std::nullopt;
  bool empty = false;
  int64_t elements = 1;
  for (const Json& dimension : json) {
    if (!dimension.is_number_unsigned() || dimension.get<uint64_t>() > uint64_t{kMaxElements}) return std::nullopt;
    shape.push_back(dimension.get<int64_t>());
    if (shape.back() == 0) {
      empty = true;
    } else if (elements > kMaxElements / shape.back()) {
      return std::nullopt;
    } else {
      elements *= shape.back();
    }
  }
  return empty ? 0 : elements;
}

Result<Entry> read_entry(const std::string& name, const Json& json, uint64_t data_bytes, std::string_view origin) {
  const auto wrong = [&](std::string_view what) { return error("{}: tensor `{}` {}", origin, name, what); };
  if (!json.is_object()) return wrong("is not described by an object");
  const auto dtype = json.find("dtype"), shape = json.find("shape"), offsets = json.find("data_offsets");
  if (dtype == json.end() || !dtype->is_string()) return wrong("has no dtype");
  const std::optional<at::ScalarType> type = type_of(dtype->get_ref<const std::string&>());
  if (!type)
    return wrong(fmt::format("has the unknown dtype {}", dtype->dump(-1, ' ', true, Json::error_handler_t::replace)));

  Entry entry;
  entry.name = name;
  entry.type = *type;
  if (shape == json.end()) return wrong("has no shape");
  const std::optional<int64_t> elements = read_shape(*shape, entry.shape);
  if (!elements) return wrong("has a shape that is no list of sizes");
  if (offsets == json.end() || !offsets->is_array() || offsets->size() != 2 || !(*offsets)[0].is_number_unsigned() ||
      !(*offsets)[1].is_number_unsigned()) {
    return wrong("has no data_offsets [begin, end]");
  }
  entry.begin = (*offsets)[0].get<uint64_t>();
  entry.end = (*offsets)[1].get<uint64_t>();
  if (entry.begin > entry.end) return wrong("ends before it begins");
  if (entry.end > data_bytes) {
    return wrong(
        fmt::format("ends at byte {}, but the file holds {} bytes of data: it is truncated", entry.end, data_bytes));
  }
  const uint64_t bytes = static_cast<uint64_t>(*elements) * c10::elementSize(*type);
  if (entry.end - entry.begin != bytes) {
    return wrong(fmt::format("has {} bytes of data, but its shape needs {}", entry.end - entry.begin, bytes));
  }
  return entry;
}

/// The format wants the tensors to lie side by side: no overlap, no hole, nothing left over.
Status check_layout(std::vector<Entry>& entries, uint64_t data_bytes, std::string_view origin) {
  std::ranges::sort(entries, {}, [](const Entry& entry) { return std::pair(entry.begin, entry.end); });
  uint64_t at = 0;
  for (const Entry& entry : entries) {
    if (entry.begin < at) return error("{}: tensor `{}` overlaps another", origin, entry.name);
    if (entry.begin > at)
      return error("{}: {} bytes before tensor `{}` belong to no tensor", origin, entry.begin - at, entry.name);
    at = entry.end;
  }
  if (at != data_bytes) return error("{}: {} bytes at the end belong to no tensor", origin, data_bytes - at);
  return {};
}

Result<std::map<std::string, std::string>> read_metadata(const Json& json, std::string_view origin) {
  std::map<std::string, std::string> metadata;
  if (!json.is_object()) return error("{}: __metadata__ is not an object", origin);
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string()) return error("{}: __metadata__ `{}` is not a string", origin, key);
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

/// Parses the header; a name that occurs twice is an error, which a plain parse would let pass, and so is deep nesting,
/// which has no place in this format.
Result<Json> parse_header(std::string_view text, std::string_view origin) {
  std::set<std::string> names;
  std::string twice;
  bool deep = false;
  const auto watch = [&](int depth, Json::parse_event_t event, Json& parsed) {
    if (depth > 4) deep = true;
    if (depth == 1 && event == Json::parse_event_t::key) {
      const std::string name = parsed.get<std::string>();
      if (!names.insert(name).second) twice = name;
    }
    return depth <= 4;
  };
  Json header = Json::parse(text, watch, /*allow_exceptions=*/false);
  if (header.is_discarded() || !header.is_object() || deep)
    return error("{}: its header is no safetensors JSON", origin);
  if (!twice.empty()) return error("{}: tensor `{}` occurs twice", origin, twice);
  return header;
}

std::string_view bytes_of(const at::Tensor& tensor) {
  return {static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes()};
}

}  // namespace

std::string write_safetensors(std::span<const NamedTensor> tensors,
                              const std::map<std::string, std::string>& metadata) {
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::vector<at::Tensor> data;
  uint64_t at = 0;
  for (const NamedTensor& named : tensors) {
    check(named.name != "__metadata__" && !header.contains(named.name), "write_safetensors: a name occurs twice");
    data.push_back(named.tensor.detach().to(at::kCPU).contiguous());
    const uint64_t end = at + data.back().nbytes();
    header[named.name] = {{"dtype", name_of(named.tensor.scalar_type())},
                          {"shape", named.tensor.sizes().vec()},
                          {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.append((8 - text.size() % 8) % 8, ' ');  // aligns the data for readers that map the file

  const uint64_t length = text.size();
  std::string bytes(kLengthBytes, '\0');
  std::memcpy(bytes.data(), &length, kLengthBytes);
  bytes.reserve(kLengthBytes + text.size() + at);
  bytes += text;
  for (const at::Tensor& tensor : data) bytes += bytes_of(tensor);
  return bytes;
}

Result<SafeTensors> read_safetensors(std::string_view bytes, std::string_view origin) {
  if (bytes.size() < kLengthBytes)
    return error("{}: {} bytes are too few for a safetensors file", origin, bytes.size());
  uint64_t length = 0;
  std::memcpy(&length, bytes.data(), kLengthBytes);
  if (length > kMaxHeaderBytes)
    return error("{}: its header claims {} bytes; this is no safetensors file", origin, length);
  if (length > bytes.size() - kLengthBytes) {
    return error("{}: its header claims {} bytes, but the file has {}: it is truncated", origin, length, bytes.size());
  }
  const std::string_view data = bytes.substr(kLengthBytes + length);
  Result<Json> header = parse_header(bytes.substr(kLengthBytes, length), origin);
  if (!header) return header.error();

  SafeTensors file;
  std::vector<Entry> entries;
  for (const auto& [name, json] : header->items()) {
    if (name == "__metadata__") {
      auto metadata = read_metadata(json, origin);
      if (!metadata) return metadata.error();
      file.metadata = std::move(*metadata);
      continue;
    }
    Result<Entry> entry = read_entry(name, json, data.size(), origin);
    if (!entry) return entry.error();
    entries.push_back(std::move(*entry));
  }
  if (Status layout = check_layout(entries, data.size(), origin); !layout) return layout.error();
  for (const Entry& entry : entries) {
    at::Tensor tensor = at::empty(entry.shape, at::TensorOptions(entry.type));
    if (entry.end > entry.begin)
      std::memcpy(tensor.mutable_data_ptr(), data.data() + entry.begin, entry.end - entry.begin);
    file.tensors.emplace(entry.name, std::move(tensor));
  }
  return file;
}

Result<SafeTensors> load_safetensors(const std::string& path) {
  const Result<std::string> bytes = read_file(path);
  if (!bytes) return bytes.error();
  return read_safetensors(*bytes, path);
}

Status save_safetensors(const std::string& path, std::span<const NamedTensor> tensors,
                        const std::map<std::string, std::string>& metadata) {
  return write_file(path, write_safetensors(tensors, metadata));
}

}  // namespace hivq
