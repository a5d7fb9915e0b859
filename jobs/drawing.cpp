#include "jobs/drawing.h"

#include <fmt/format.h>

#include "jobs/table.h"

namespace hivq {

namespace {

/// A number for an attribute: at most two decimals and none that are zero.
std::string px(double value) {
  std::string text = fmt::format("{:.2f}", value);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.ends_with('.')) text.pop_back();
  return text == "-0" ? "0" : text;
}

std::string dashed(const char* dash) { return *dash == '\0' ? "" : fmt::format(" stroke-dasharray=\"{}\"", dash); }

const char* name_of(Drawing::Anchor anchor) {
  return anchor == Drawing::Anchor::start ? "start" : anchor == Drawing::Anchor::middle ? "middle" : "end";
}

std::string svg_of(const Drawing::Box& box) {
  return fmt::format("<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" fill=\"{}\"{}/>\n", px(box.x), px(box.y),
                     px(box.width), px(box.height), box.colour,
                     box.radius > 0 ? fmt::format(" rx=\"{}\"", px(box.radius)) : "");
}

std::string svg_of(const Drawing::Line& line) {
  return fmt::format("<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"{}\" stroke-width=\"{}\"{}/>\n",
                     px(line.x1), px(line.y1), px(line.x2), px(line.y2), line.colour, px(line.width),
                     dashed(line.dash));
}

std::string svg_of(const Drawing::Text& text) {
  const std::string place = text.upright
                                ? fmt::format("transform=\"translate({} {}) rotate(-90)\"", px(text.x), px(text.y))
                                : fmt::format("x=\"{}\" y=\"{}\"", px(text.x), px(text.y));
  const std::string halo = text.halo ? fmt::format(" stroke=\"{}\" stroke-width=\"{}\" paint-order=\"stroke\"",
                                                   Drawing::paper, px(Drawing::halo_width))
                                     : "";
  return fmt::format("<text {} font-size=\"{}\" fill=\"{}\"{} text-anchor=\"{}\"{}>{}</text>\n", place, px(text.size),
                     text.colour, halo, name_of(text.anchor), text.bold ? " font-weight=\"600\"" : "",
                     xml_escape(text.what));
}

std::string svg_of(const Drawing::Path& path) {
  std::string d;
  for (const auto& point : path.points) d += fmt::format("{}{} {}", d.empty() ? "M" : "L", px(point.x), px(point.y));
  return fmt::format(
      "<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"{}\" stroke-linejoin=\"round\" "
      "stroke-linecap=\"round\"{}/>\n",
      d, path.colour, px(Drawing::path_width), dashed(path.dash));
}

std::string svg_of(const Drawing::Dot& dot) {
  return fmt::format("<circle cx=\"{}\" cy=\"{}\" r=\"{}\" fill=\"{}\"/>\n", px(dot.x), px(dot.y),
                     px(Drawing::dot_radius), dot.colour);
}

}  // namespace

std::string to_svg(const Drawing& drawing) {
  std::string body = fmt::format("<title>{}</title>\n", xml_escape(drawing.title));
  body += svg_of(Drawing::Box{0, 0, drawing.width, drawing.height, Drawing::paper});
  for (const auto& shape : drawing.shapes) body += std::visit([](const auto& each) { return svg_of(each); }, shape);
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" role=\"img\" "
      "font-family=\"Inter, 'Helvetica Neue', Arial, 'DejaVu Sans', sans-serif\">\n{2}</svg>\n",
      px(drawing.width), px(drawing.height), body);
}

std::string xml_escape(std::string_view text) {
  std::string escaped;
  for (char c : printable(text)) {
    switch (c) {
      case '<':
        escaped += "&lt;";
        break;
      case '>':
        escaped += "&gt;";
        break;
      case '&':
        escaped += "&amp;";
        break;
      case '"':
        escaped += "&quot;";
        break;
      case '\'':
        escaped += "&apos;";
        break;
      default:
        escaped += c;
    }
  }
  return escaped;
}

}  // namespace hivq
