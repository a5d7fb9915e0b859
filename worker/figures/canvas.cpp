#include "worker/figures/canvas.h"

#include <cairo/cairo.h>
#include <torch/torch.h>

namespace hivq {

struct Canvas::Page {
  cairo_surface_t* surface;
  cairo_t* pen;
};

Canvas::Canvas(int64_t width, int64_t height) : page_(std::make_unique<Page>()) {
  page_->surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, static_cast<int>(width), static_cast<int>(height));
  page_->pen = cairo_create(page_->surface);
  check(cairo_status(page_->pen) == CAIRO_STATUS_SUCCESS, "a page of a size that can be drawn on");
  cairo_select_font_face(page_->pen, "sans-serif", CAIRO_FONT_SLANT_NORMAL, CAIRO_FONT_WEIGHT_NORMAL);
  rectangle(0, 0, static_cast<double>(width), static_cast<double>(height), {1, 1, 1});
}

Canvas::Canvas(Canvas&&) noexcept = default;

Canvas::~Canvas() {
  if (!page_) return;
  cairo_destroy(page_->pen);
  cairo_surface_destroy(page_->surface);
}

void Canvas::rectangle(double x, double y, double width, double height, Colour fill) {
  cairo_set_source_rgb(page_->pen, fill.red, fill.green, fill.blue);
  cairo_rectangle(page_->pen, x, y, width, height);
  cairo_fill(page_->pen);
}

void Canvas::line(double x1, double y1, double x2, double y2, Colour colour, double width) {
  cairo_set_source_rgb(page_->pen, colour.red, colour.green, colour.blue);
  cairo_set_line_width(page_->pen, width);
  cairo_move_to(page_->pen, x1, y1);
  cairo_line_to(page_->pen, x2, y2);
  cairo_stroke(page_->pen);
}

double Canvas::text_width(const std::string& text, double size) const {
  cairo_set_font_size(page_->pen, size);
  cairo_text_extents_t extents;
  cairo_text_extents(page_->pen, text.c_str(), &extents);
  return extents.x_advance;
}

void Canvas::text(double x, double y, const std::string& text, double size, Align align, Colour colour) {
  const double width = text_width(text, size);
  cairo_set_source_rgb(page_->pen, colour.red, colour.green, colour.blue);
  cairo_move_to(page_->pen, align == Align::left ? x : align == Align::centre ? x - width / 2 : x - width, y);
  cairo_show_text(page_->pen, text.c_str());
}

void Canvas::image(double x, double y, double width, double height, const at::Tensor& pixels) {
  check(pixels.scalar_type() == at::kByte && pixels.dim() == 3 && pixels.size(2) == 3, "an image is uint8 [h, w, 3]");
  const auto rows = static_cast<int>(pixels.size(0)), columns = static_cast<int>(pixels.size(1));
  const at::Tensor source = pixels.contiguous();
  cairo_surface_t* surface = cairo_image_surface_create(CAIRO_FORMAT_RGB24, columns, rows);
  unsigned char* out = cairo_image_surface_get_data(surface);
  const int stride = cairo_image_surface_get_stride(surface);
  const uint8_t* in = source.const_data_ptr<uint8_t>();
  for (int row = 0; row < rows; ++row) {
    auto* to = reinterpret_cast<uint32_t*>(out + static_cast<ptrdiff_t>(row) * stride);
    for (int column = 0; column < columns; ++column, in += 3) to[column] = uint32_t{in[0]} << 16 | in[1] << 8 | in[2];
  }
  cairo_surface_mark_dirty(surface);
  cairo_save(page_->pen);
  cairo_translate(page_->pen, x, y);
  cairo_scale(page_->pen, width / columns, height / rows);
  cairo_set_source_surface(page_->pen, surface, 0, 0);
  cairo_pattern_set_filter(cairo_get_source(page_->pen), CAIRO_FILTER_GOOD);
  cairo_rectangle(page_->pen, 0, 0, columns, rows);
  cairo_fill(page_->pen);
  cairo_restore(page_->pen);
  cairo_surface_destroy(surface);
}

Status Canvas::save_png(const std::string& path) const {
  cairo_surface_flush(page_->surface);
  const cairo_status_t status = cairo_surface_write_to_png(page_->surface, path.c_str());
  if (status != CAIRO_STATUS_SUCCESS) return error("cannot write {}: {}", path, cairo_status_to_string(status));
  return {};
}

}  // namespace hivq
