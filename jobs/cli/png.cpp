#include "jobs/cli/png.h"

#include <cairo/cairo.h>

#include <charconv>
#include <cmath>
#include <memory>
#include <numbers>

#include "jobs/table.h"

namespace hivq::cli {

namespace {

using Surface = std::unique_ptr<cairo_surface_t, decltype(&cairo_surface_destroy)>;
using Pen = std::unique_ptr<cairo_t, decltype(&cairo_destroy)>;
constexpr double kPi = std::numbers::pi;

void set_colour(cairo_t* pen, std::string_view colour) {  // #rrggbb
  unsigned rgb = 0;
  std::from_chars(colour.data() + 1, colour.data() + colour.size(), rgb, 16);
  cairo_set_source_rgb(pen, (rgb >> 16) / 255.0, (rgb >> 8 & 255) / 255.0, (rgb & 255) / 255.0);
}

void set_stroke(cairo_t* pen, const char* colour, double width, const char* dash) {
  set_colour(pen, colour);
  cairo_set_line_width(pen, width);
  double lengths[2] = {};
  int count = 0;
  for (const char* at = dash; *at != '\0' && count < 2; at += *at == ' ') {
    char* end = nullptr;
    lengths[count++] = std::strtod(at, &end);
    at = end;
  }
  cairo_set_dash(pen, lengths, count, 0);
}

void paint(cairo_t* pen, const Drawing::Box& box) {
  const double r = std::min({box.radius, box.width / 2, box.height / 2});
  const double right = box.x + box.width, bottom = box.y + box.height;
  cairo_new_path(pen);
  cairo_arc(pen, right - r, box.y + r, r, -kPi / 2, 0);
  cairo_arc(pen, right - r, bottom - r, r, 0, kPi / 2);
  cairo_arc(pen, box.x + r, bottom - r, r, kPi / 2, kPi);
  cairo_arc(pen, box.x + r, box.y + r, r, kPi, 1.5 * kPi);
  cairo_close_path(pen);
  set_colour(pen, box.colour);
  cairo_fill(pen);
}

void paint(cairo_t* pen, const Drawing::Line& line) {
  set_stroke(pen, line.colour, line.width, line.dash);
  cairo_set_line_cap(pen, CAIRO_LINE_CAP_BUTT);
  cairo_move_to(pen, line.x1, line.y1);
  cairo_line_to(pen, line.x2, line.y2);
  cairo_stroke(pen);
}

void paint(cairo_t* pen, const Drawing::Text& text) {
  cairo_select_font_face(pen, "sans-serif", CAIRO_FONT_SLANT_NORMAL,
                         text.bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
  // The widths that the layout counts with are those of narrower letters than DejaVu's, which most machines have.
  constexpr double kNarrower = 0.92;
  cairo_set_font_size(pen, kNarrower * text.size);
  const std::string what = printable(text.what);
  cairo_text_extents_t extents;
  cairo_text_extents(pen, what.c_str(), &extents);
  const double before = text.anchor == Drawing::Anchor::start    ? 0
                        : text.anchor == Drawing::Anchor::middle ? extents.x_advance / 2
                                                                 : extents.x_advance;
  cairo_save(pen);
  cairo_translate(pen, text.x, text.y);
  if (text.upright) cairo_rotate(pen, -kPi / 2);
  cairo_move_to(pen, -before, 0);
  cairo_text_path(pen, what.c_str());
  if (text.halo) {
    set_stroke(pen, Drawing::paper, Drawing::halo_width, "");
    cairo_set_line_join(pen, CAIRO_LINE_JOIN_ROUND);
    cairo_stroke_preserve(pen);
  }
  set_colour(pen, text.colour);
  cairo_fill(pen);
  cairo_restore(pen);
}

void paint(cairo_t* pen, const Drawing::Path& path) {
  set_stroke(pen, path.colour, Drawing::path_width, path.dash);
  cairo_set_line_join(pen, CAIRO_LINE_JOIN_ROUND);
  cairo_set_line_cap(pen, CAIRO_LINE_CAP_ROUND);
  for (const auto& point : path.points) cairo_line_to(pen, point.x, point.y);
  cairo_stroke(pen);
}

void paint(cairo_t* pen, const Drawing::Dot& dot) {
  set_colour(pen, dot.colour);
  cairo_arc(pen, dot.x, dot.y, Drawing::dot_radius, 0, 2 * kPi);
  cairo_fill(pen);
}

}  // namespace

Status write_png(const Drawing& drawing, const std::string& path, double scale) {
  const Surface surface(
      cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(std::lround(drawing.width * scale)),
                                 static_cast<int>(std::lround(drawing.height * scale))),
      cairo_surface_destroy);
  const Pen pen(cairo_create(surface.get()), cairo_destroy);
  cairo_scale(pen.get(), scale, scale);
  paint(pen.get(), Drawing::Box{0, 0, drawing.width, drawing.height, Drawing::paper});
  for (const auto& shape : drawing.shapes) {
    std::visit([&](const auto& each) { paint(pen.get(), each); }, shape);
  }
  cairo_status_t status = cairo_status(pen.get());
  if (status == CAIRO_STATUS_SUCCESS) status = cairo_surface_write_to_png(surface.get(), path.c_str());
  if (status == CAIRO_STATUS_SUCCESS) return {};
  return error("cannot write {} ({}): is the folder writable, the disk not full? Or choose another with --out", path,
               cairo_status_to_string(status));
}

}  // namespace hivq::cli
