#pragma once

// TLS for the HTTP side: a certificate from files, read again when they change, or one of its own.

#include <openssl/ssl.h>

#include <memory>
#include <mutex>
#include <string>

#include "common/result.h"

namespace hivq {

struct TlsFiles {
  std::string certificate, key;  // PEM; both empty: made beside the coordinator's keys
};

/// For any thread.
class TlsContext {
 public:
  /// Errors: a file cannot be read, or they do not belong together.
  static Result<std::shared_ptr<TlsContext>> open(const TlsFiles& files);
  /// With the certificate that the files hold now; where they have become wrong, with the last good one.
  std::shared_ptr<SSL_CTX> get();

 private:
  explicit TlsContext(TlsFiles files) : files_(std::move(files)) {}
  const TlsFiles files_;
  std::mutex mutex_;  // guards what follows
  std::string stamp_;
  std::shared_ptr<SSL_CTX> context_;
};

/// Makes tls.crt and tls.key in `folder` where they are missing: signed by itself, for this machine's names, ten years.
/// Errors: they cannot be written.
Result<TlsFiles> own_certificate(const std::string& folder);
/// SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` prints it. Errors: it cannot be read.
Result<std::string> fingerprint(const std::string& certificate);

}  // namespace hivq
