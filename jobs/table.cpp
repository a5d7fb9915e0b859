#include "jobs/table.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <numeric>

namespace hivq {

namespace {

constexpr size_t gap = 2;            // between columns
constexpr size_t least_elastic = 6;  // an elastic column is not cut below this
constexpr std::string_view ellipsis = "…";
constexpr std::string_view replacement = "\uFFFD";

struct Glyph {
  char32_t code = 0;
  size_t bytes = 1;
  bool valid = false;
};

// The first character of a text that is not empty.
Glyph glyph_at(std::string_view text) {
  auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  unsigned char lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
  if (lead < 0xc2 || lead > 0xf4 || text.size() < bytes) return {};
  char32_t code = lead & (0x7f >> bytes);
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3f);
  }
  constexpr char32_t shortest[] = {0, 0, 0x80, 0x800, 0x10000};
  bool surrogate = code >= 0xd800 && code < 0xe000;
  if (code < shortest[bytes] || code > 0x10ffff || surrogate) return {};
  return {code, bytes, true};
}

// Ranges of Unicode 15: combining and zero-width characters, and East Asian wide ones with emoji.
constexpr std::array<std::pair<char32_t, char32_t>, 9> zero_width{{{0x0300, 0x036f},
                                                                   {0x0483, 0x0489},
                                                                   {0x0591, 0x05bd},
                                                                   {0x064b, 0x065f},
                                                                   {0x1ab0, 0x1aff},
                                                                   {0x200b, 0x200f},
                                                                   {0x20d0, 0x20ff},
                                                                   {0xfe00, 0xfe0f},
                                                                   {0xfe20, 0xfe2f}}};
constexpr std::array<std::pair<char32_t, char32_t>, 10> double_width{{{0x1100, 0x115f},
                                                                      {0x2e80, 0x303e},
                                                                      {0x3041, 0xa4cf},
                                                                      {0xac00, 0xd7a3},
                                                                      {0xf900, 0xfaff},
                                                                      {0xfe30, 0xfe6f},
                                                                      {0xff00, 0xff60},
                                                                      {0xffe0, 0xffe6},
                                                                      {0x1f300, 0x1faff},
                                                                      {0x20000, 0x3fffd}}};

size_t width_of(char32_t code) {
  auto within = [&](const auto& range) { return code >= range.first && code <= range.second; };
  if (code < 0x300) return 1;
  if (std::any_of(zero_width.begin(), zero_width.end(), within)) return 0;
  return std::any_of(double_width.begin(), double_width.end(), within) ? 2 : 1;
}

const char* escape_of(Tint tint) {
  switch (tint) {
    case Tint::none:
      return "";
    case Tint::dim:
      return "\033[2m";
    case Tint::good:
      return "\033[32m";
    case Tint::bad:
      return "\033[31m";
    case Tint::bold:
      return "\033[1m";
    case Tint::accent:
      return "\033[36m";
  }
  return "";
}

struct Layout {
  std::vector<size_t> shown;   // columns, in order
  std::vector<size_t> widths;  // of every column
  size_t total() const {
    size_t sum = shown.empty() ? 0 : gap * (shown.size() - 1);
    for (size_t column : shown) sum += widths[column];
    return sum;
  }
};

Layout natural_layout(const Table& table) {
  Layout layout;
  layout.shown.resize(table.columns.size());
  std::iota(layout.shown.begin(), layout.shown.end(), 0);
  for (const auto& column : table.columns) layout.widths.push_back(display_width(printable(column.name)));
  for (const auto& row : table.rows) {
    for (size_t i = 0; i < std::min(row.size(), layout.widths.size()); ++i) {
      layout.widths[i] = std::max(layout.widths[i], display_width(printable(row[i].text)));
    }
  }
  return layout;
}

// Takes columns off the widest elastic one, again and again.
void shrink(Layout& layout, const Table& table, size_t width) {
  while (layout.total() > width) {
    size_t* widest = nullptr;
    for (size_t column : layout.shown) {
      size_t& candidate = layout.widths[column];
      if (!table.columns[column].elastic || candidate <= least_elastic) continue;
      if (widest == nullptr || candidate > *widest) widest = &candidate;
    }
    if (widest == nullptr) return;
    --*widest;
  }
}

Layout fit(const Table& table, size_t width) {
  const Layout natural = natural_layout(table);
  Layout layout = natural;
  if (width == 0) return layout;
  while (true) {
    shrink(layout, table, width);
    if (layout.total() <= width) return layout;
    auto spare = std::max_element(layout.shown.begin(), layout.shown.end(),
                                  [&](size_t a, size_t b) { return table.columns[a].spare < table.columns[b].spare; });
    if (table.columns[*spare].spare == 0) return layout;
    layout.shown.erase(spare);
    layout.widths = natural.widths;
  }
}

std::string render_row(const Table& table, const Layout& layout, const std::vector<Cell>& row, bool colour) {
  std::string line;
  for (size_t column : layout.shown) {
    const Cell cell = column < row.size() ? row[column] : Cell();
    std::string text = elide(printable(cell.text), layout.widths[column]);
    std::string padding(layout.widths[column] - display_width(text), ' ');
    if (column != layout.shown.front()) line.append(gap, ' ');
    bool right = table.columns[column].align == Align::right;
    if (right) line += padding;
    line += tinted(text, cell.tint, colour);
    if (!right && column != layout.shown.back()) line += padding;
  }
  line.erase(line.find_last_not_of(' ') + 1);
  return line + '\n';
}

}  // namespace

size_t display_width(std::string_view utf8) {
  size_t width = 0;
  while (!utf8.empty()) {
    Glyph glyph = glyph_at(utf8);
    width += glyph.valid ? width_of(glyph.code) : 1;
    utf8.remove_prefix(glyph.bytes);
  }
  return width;
}

std::string elide(std::string_view utf8, size_t width) {
  if (display_width(utf8) <= width) return std::string(utf8);
  if (width == 0) return "";
  std::string kept;
  size_t used = 0;
  while (!utf8.empty()) {
    Glyph glyph = glyph_at(utf8);
    size_t next = glyph.valid ? width_of(glyph.code) : 1;
    if (used + next > width - 1) break;
    used += next;
    kept += utf8.substr(0, glyph.bytes);
    utf8.remove_prefix(glyph.bytes);
  }
  return kept + std::string(ellipsis);
}

std::string printable(std::string_view text) {
  std::string safe;
  while (!text.empty()) {
    Glyph glyph = glyph_at(text);
    bool control = glyph.code < 0x20 || (glyph.code >= 0x7f && glyph.code < 0xa0);
    // Marks that turn the direction of writing can make a line read as another.
    bool turning = (glyph.code >= 0x202a && glyph.code <= 0x202e) || (glyph.code >= 0x2066 && glyph.code <= 0x2069);
    if (glyph.code == '\t' && glyph.valid) {
      safe += ' ';
    } else if (!glyph.valid || control || turning) {
      safe += replacement;
    } else {
      safe += text.substr(0, glyph.bytes);
    }
    text.remove_prefix(glyph.bytes);
  }
  return safe;
}

std::string tinted(std::string_view text, Tint tint, bool colour) {
  if (!colour || tint == Tint::none) return std::string(text);
  return escape_of(tint) + std::string(text) + "\033[0m";
}

std::string csv_field(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"') quoted += '"';
    quoted += c;
  }
  return quoted + '"';
}

std::string render(const Table& table, const TableStyle& style) {
  Layout layout = fit(table, style.width);
  std::vector<Cell> header;
  for (const auto& column : table.columns) header.emplace_back(column.name, Tint::bold);
  std::string text = render_row(table, layout, header, style.colour);
  for (const auto& row : table.rows) text += render_row(table, layout, row, style.colour);
  std::string left_out;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    if (std::find(layout.shown.begin(), layout.shown.end(), i) != layout.shown.end()) continue;
    left_out += (left_out.empty() ? "" : ", ") + printable(table.columns[i].name);
  }
  if (!left_out.empty()) text += tinted(elide("left out: " + left_out, style.width), Tint::dim, style.colour) + '\n';
  return text;
}

}  // namespace hivq
