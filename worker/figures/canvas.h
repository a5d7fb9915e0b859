#pragma once

// A page to draw on, saved as PNG. Cairo draws; nothing else knows of it.

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "common/result.h"

namespace hivq {

struct Colour {
  double red = 0, green = 0, blue = 0;  // 0 … 1
};

class Canvas {
 public:
  /// A white page of so many pixels.
  Canvas(int64_t width, int64_t height);
  ~Canvas();
  Canvas(Canvas&&) noexcept;

  void rectangle(double x, double y, double width, double height, Colour fill);
  void line(double x1, double y1, double x2, double y2, Colour colour, double width = 1);
  enum class Align { left, centre, right };
  /// `y` is the base line.
  void text(double x, double y, const std::string& text, double size, Align align = Align::left, Colour colour = {});
  double text_width(const std::string& text, double size) const;
  /// uint8 [h, w, 3], scaled to the box.
  void image(double x, double y, double width, double height, const at::Tensor& pixels);

  /// Errors: the file cannot be written.
  Status save_png(const std::string& path) const;

 private:
  struct Page;
  std::unique_ptr<Page> page_;
};

}  // namespace hivq
