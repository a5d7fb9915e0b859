#include "common/messages.h"

#include <algorithm>
#include <optional>

namespace hivq {

namespace {

struct Envelope {
  int v = wire_version;
  std::string type;
  uint64_t id = 0;
  std::string body;
  HIVQ_FIELDS(v, type, id, body)
};

template <typename Variant, size_t I = 0>
Result<Variant> unpack_alternative(const std::string& type, const std::string& body) {
  if constexpr (I == std::variant_size_v<Variant>) {
    return error("message of the unknown type '{}': the other side is a newer version of hivq", type.substr(0, 40));
  } else {
    using Alternative = std::variant_alternative_t<I, Variant>;
    if (type != Alternative::type) return unpack_alternative<Variant, I + 1>(type, body);
    auto value = unpack<Alternative>(body);
    if (!value) return value.error();
    return Variant(std::move(*value));
  }
}

template <typename Variant>
std::string wrap(uint64_t id, const Variant& value) {
  return std::visit(
      [&](const auto& alternative) {
        return pack(Envelope{wire_version, std::remove_cvref_t<decltype(alternative)>::type, id, pack(alternative)});
      },
      value);
}

Result<Envelope> open(std::string_view bytes) {
  auto envelope = unpack<Envelope>(bytes);
  if (!envelope) return envelope.error();
  // Neighbouring versions understand each other.
  if (envelope->v > wire_version + 1 || envelope->v < std::max(wire_version - 1, oldest_wire_version)) {
    return error("message of wire version {}; this program speaks {}: upgrade the older of the two", envelope->v,
                 wire_version);
  }
  return envelope;
}

}  // namespace

void SqlValue::msgpack_unpack(const msgpack::object& object) {
  switch (object.type) {
    case msgpack::type::NIL:
      *this = std::monostate{};
      return;
    case msgpack::type::FLOAT32:
    case msgpack::type::FLOAT64:
      *this = object.as<double>();
      return;
    case msgpack::type::STR:
      *this = object.as<std::string>();
      return;
    default:
      *this = object.as<int64_t>();
  }
}

std::string encode(const Message& message) { return wrap(message.id, message.body); }

Result<Message> decode(std::string_view bytes) {
  auto envelope = open(bytes);
  if (!envelope) return envelope.error();
  auto body = unpack_alternative<Body>(envelope->type, envelope->body);
  if (!body) return body.error();
  return Message{envelope->id, std::move(*body)};
}

std::string pack_item(const Item& item) { return wrap(0, item); }

Result<Item> unpack_item(std::string_view bytes) {
  auto envelope = open(bytes);
  if (!envelope) return envelope.error();
  return unpack_alternative<Item>(envelope->type, envelope->body);
}

}  // namespace hivq
