// Pictures: test images with their maps, which a gang reports at a trial's end, and figures that someone drew of a
// trial. They stay as long as the trial does.

#include <fmt/format.h>

#include <cmath>

#include "common/png_header.h"
#include "common/sha256.h"
#include "coordinator/core_running.h"

namespace hivq {

namespace {

Status check_text(const std::string& text, const char* what) {
  if (!text.empty() && text.size() <= most_picture_name && text.find('\0') == text.npos) return {};
  return error("a picture's {} has {} bytes; it must have 1 to {}, none of them 0", what, text.size(),
               most_picture_name);
}

/// A browser shows what is stored, so it must be what it says.
Status check_png(const std::string& png, const char* what, std::optional<PngHeader> like) {
  if (png.size() > most_picture_bytes) {
    return error("a picture's {} has {} bytes; the most is {}", what, png.size(), most_picture_bytes);
  }
  const auto header = read_png_header(png);
  if (!header) return error("a picture's {} is no PNG", what);
  if (header->width > most_picture_side || header->height > most_picture_side || header->bits != 8) {
    return error("a picture's {} has {} × {} pixels of {} bits; the most is {} a side, of 8 bits", what, header->width,
                 header->height, header->bits, most_picture_side);
  }
  if (!like) return {};
  if (header->width != like->width || header->height != like->height || !header->grey) {
    return error("a picture's {} is not grey or not of its image's size", what);
  }
  return {};
}

}  // namespace

Status Core::lawful_picture(const PictureItem& picture) {
  if (picture.number >= most_pictures) {
    return error("a picture of the number {}; a trial has {} at most", picture.number, most_pictures);
  }
  if (picture.step < 0) return error("a picture of the step {}", picture.step);
  if (!std::isfinite(picture.score) || !std::isfinite(picture.map_low) || !std::isfinite(picture.map_high)) {
    return error("a picture whose score or map is not finite");
  }
  if (Status named = check_text(picture.name, "name"); !named) return named;
  if (Status named = check_text(picture.class_name, "class"); !named) return named;
  if (Status image = check_png(picture.image, "image", std::nullopt); !image) return image;
  const auto like = read_png_header(picture.image);
  if (Status map = check_png(picture.map, "map", like); !map) return map;
  return picture.truth.empty() ? Status() : check_png(picture.truth, "ground truth", like);
}

void Core::apply_picture(Running& run, const TrialId& id, const PictureItem& item) {
  const auto header = read_png_header(item.image);
  PictureView row{
      item.number,         item.step,     item.name,     item.class_name, item.anomalous,         item.score,
      item.map_low,        item.map_high, header->width, header->height,  sha256_hex(item.image), "",
      sha256_hex(item.map)};
  // The trials of a job mostly show the same images.
  run.put_once(Family::pictures, shared_picture_key(id.job, row.image), item.image);
  if (!item.truth.empty()) {
    row.truth = sha256_hex(item.truth);
    run.put_once(Family::pictures, shared_picture_key(id.job, row.truth), item.truth);
  }
  run.put(Family::pictures, picture_key(id, PictureKey::map, item.number), item.map);
  run.put(Family::pictures, picture_key(id, PictureKey::picture, item.number), pack(row));
}

void Core::on(Running& run, const std::string& peer, const AttachFigure& wish, uint64_t request) {
  const auto refuse = [&](std::string why) { run.reply(peer, request, Failed{std::move(why)}); };
  if (wish.figure < 1 || wish.figure > most_figures) {
    return refuse(fmt::format("there is no figure {}; they are numbered 1 to {}", wish.figure, most_figures));
  }
  const auto header = read_png_header(wish.png);
  if (!header) return refuse(fmt::format("figure {} is no PNG", wish.figure));
  if (wish.png.size() > most_figure_bytes) {
    return refuse(
        fmt::format("figure {} has {} bytes; the most is {}", wish.figure, wish.png.size(), most_figure_bytes));
  }
  // Of an ended job the trials are in the store alone; one that has a checkpoint is there, and a figure is drawn from
  // it.
  const auto kept = checkpoints_of(wish.trial);
  if (!kept) return refuse(kept.error().message);
  if (kept->empty()) {
    return refuse(fmt::format("trial {} has no checkpoint that a figure could be drawn of", to_string(wish.trial)));
  }
  const FigureView row{wish.figure, run.now, header->width, header->height, sha256_hex(wish.png)};
  run.put(Family::pictures, picture_key(wish.trial, PictureKey::figure, wish.figure), pack(row));
  run.put(Family::pictures, picture_key(wish.trial, PictureKey::figure_png, wish.figure), wish.png);
  event(run, fmt::format("figure {} of trial {} attached", wish.figure, to_string(wish.trial)));
  run.reply(peer, request, FigureAttached{wish.figure});
}

}  // namespace hivq
