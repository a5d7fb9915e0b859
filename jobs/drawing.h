#pragma once

// A page of shapes in pixels from its upper left corner: what a figure is before it becomes SVG or PNG. Pure.

#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace hivq {

struct PlotPoint {
  double x = 0, y = 0;
};

/// Colours are `#rrggbb`, dashes lengths on and off, such as `7 4`; shapes are painted in their order.
struct Drawing {
  struct Box {
    double x, y, width, height;
    const char* colour;
    double radius = 0;  // of its corners
  };
  struct Line {
    double x1, y1, x2, y2;
    const char* colour;
    double width = 1;
    const char* dash = "";
  };
  enum class Anchor { start, middle, end };
  struct Text {
    double x, y;  // of the anchor, on the baseline
    std::string what;
    double size;
    const char* colour;
    Anchor anchor = Anchor::start;
    bool bold = false;
    bool halo = false;     // readable on top of lines
    bool upright = false;  // read from below
  };
  struct Path {
    std::vector<PlotPoint> points;
    const char* colour;
    const char* dash = "";
  };
  struct Dot {
    double x, y;
    const char* colour;
  };
  using Shape = std::variant<Box, Line, Text, Path, Dot>;

  static constexpr const char* paper = "#fcfcfb";
  static constexpr double path_width = 2, dot_radius = 3, halo_width = 4;

  std::string title;
  double width = 0, height = 0;
  std::vector<Shape> shapes;
};

/// Self-contained: no scripts, no fonts of its own, nothing from elsewhere.
std::string to_svg(const Drawing& drawing);

/// For text and attributes of XML: `<`, `&`, quotes escaped; characters that XML cannot hold become U+FFFD.
std::string xml_escape(std::string_view text);

}  // namespace hivq
