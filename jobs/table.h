#pragma once

// Text in columns for a terminal: aligned by what is seen (UTF-8), and narrowed until it fits the width.

#include <string>
#include <string_view>
#include <vector>

namespace hivq {

enum class Align { left, right };
enum class Tint { none, dim, good, bad, bold, accent };

struct Column {
  std::string name;
  Align align = Align::left;
  bool elastic = false;  // may be cut short, with an ellipsis
  int spare = 0;         // columns of the highest number above 0 are left out first when nothing else helps
};

struct Cell {
  Cell(std::string cell_text = "", Tint cell_tint = Tint::none) : text(std::move(cell_text)), tint(cell_tint) {}
  Cell(const char* cell_text) : text(cell_text) {}
  std::string text;
  Tint tint;
};

struct TableStyle {
  size_t width = 0;  // columns of the terminal; 0: as wide as it gets
  bool colour = false;
};

struct Table {
  std::vector<Column> columns;
  std::vector<std::vector<Cell>> rows;
};

/// The table as lines, each with its newline; a header line first. Columns that did not fit are named in a last line.
std::string render(const Table& table, const TableStyle& style = {});

/// Columns of a terminal that the text takes: wide characters count twice, combining ones not at all.
size_t display_width(std::string_view utf8);

/// At most `width` columns, the last of them an ellipsis where something was cut.
std::string elide(std::string_view utf8, size_t width);

/// Safe to print: control characters and malformed UTF-8 become U+FFFD, so a name or a log line cannot steer the
/// terminal.
std::string printable(std::string_view text);

/// The text in a colour; unchanged with `colour` false.
std::string tinted(std::string_view text, Tint tint, bool colour);

/// A field of CSV (RFC 4180), quoted where it must be.
std::string csv_field(std::string_view text);

}  // namespace hivq
