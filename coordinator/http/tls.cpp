#include "coordinator/http/tls.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "common/file.h"
#include "common/keys.h"

namespace hivq {

namespace {

template <typename T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

std::string openssl_error() {
  char text[256] = "";
  ERR_error_string_n(ERR_get_error(), text, sizeof text);
  ERR_clear_error();
  return text;
}

Result<std::shared_ptr<SSL_CTX>> load(const TlsFiles& files) {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_server_method()), SSL_CTX_free);
  check(context != nullptr, "OpenSSL has TLS");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (SSL_CTX_use_certificate_chain_file(context.get(), files.certificate.c_str()) != 1) {
    return error("--tls-cert {}: {}; it must be a certificate (or a chain) in PEM", files.certificate, openssl_error());
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), files.key.c_str(), SSL_FILETYPE_PEM) != 1) {
    return error("--tls-key {}: {}; it must be the certificate's key in PEM", files.key, openssl_error());
  }
  return context;
}

std::string pem_of(X509* certificate, EVP_PKEY* key) {
  const Owned<BIO> memory(BIO_new(BIO_s_mem()), [](BIO* bio) { BIO_free(bio); });
  if (certificate != nullptr) PEM_write_bio_X509(memory.get(), certificate);
  if (key != nullptr) PEM_write_bio_PrivateKey(memory.get(), key, nullptr, nullptr, 0, nullptr, nullptr);
  char* bytes = nullptr;
  const long size = BIO_get_mem_data(memory.get(), &bytes);
  return {bytes, static_cast<size_t>(size)};
}

void add_extension(X509* certificate, int kind, const std::string& value) {
  const Owned<X509_EXTENSION> extension(X509V3_EXT_conf_nid(nullptr, nullptr, kind, value.c_str()),
                                        X509_EXTENSION_free);
  if (extension) X509_add_ext(certificate, extension.get(), -1);
}

}  // namespace

Result<std::shared_ptr<TlsContext>> TlsContext::open(const TlsFiles& files) {
  std::shared_ptr<TlsContext> made(new TlsContext(files));
  auto context = load(files);
  if (!context) return context.error();
  made->context_ = std::move(*context);
  made->stamp_ = file_stamp(files.certificate) + file_stamp(files.key);
  return made;
}

std::shared_ptr<SSL_CTX> TlsContext::get() {
  const std::lock_guard lock(mutex_);
  std::string now = file_stamp(files_.certificate) + file_stamp(files_.key);
  if (now != stamp_) {
    stamp_ = std::move(now);
    if (auto fresh = load(files_)) context_ = std::move(*fresh);
  }
  return context_;
}

Result<TlsFiles> own_certificate(const std::string& folder) {
  TlsFiles files{folder + "/tls.crt", folder + "/tls.key"};
  if (std::filesystem::exists(files.certificate) && std::filesystem::exists(files.key)) return files;
  const Owned<EVP_PKEY> key(EVP_EC_gen("P-256"), EVP_PKEY_free);
  const Owned<X509> certificate(X509_new(), X509_free);
  check(key && certificate, "OpenSSL makes keys of P-256");
  char host[256] = "localhost";
  gethostname(host, sizeof host - 1);
  X509_set_version(certificate.get(), 2);
  ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate.get()),
                          std::stoull(new_key_pair().public_key.substr(0, 15), nullptr, 16));
  X509_gmtime_adj(X509_getm_notBefore(certificate.get()), -3600);
  X509_gmtime_adj(X509_getm_notAfter(certificate.get()), 10L * 365 * 24 * 3600);
  X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* name = X509_get_subject_name(certificate.get());
  const std::string title = "hivq coordinator";
  X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, reinterpret_cast<const unsigned char*>(title.data()), -1, -1,
                             0);
  X509_set_issuer_name(certificate.get(), name);
  add_extension(certificate.get(), NID_basic_constraints, "critical,CA:TRUE");
  add_extension(certificate.get(), NID_subject_alt_name, fmt::format("DNS:localhost,DNS:{},IP:127.0.0.1,IP:::1", host));
  if (X509_sign(certificate.get(), key.get(), EVP_sha256()) == 0) return error("no certificate: {}", openssl_error());
  if (auto written = replace_file(files.key, pem_of(nullptr, key.get()), 0600); !written) return written.error();
  if (auto written = replace_file(files.certificate, pem_of(certificate.get(), nullptr), 0644); !written) {
    return written.error();
  }
  return files;
}

Result<std::string> fingerprint(const std::string& certificate) {
  const Owned<FILE> file(std::fopen(certificate.c_str(), "r"), [](FILE* open) { std::fclose(open); });
  const Owned<X509> read(file ? PEM_read_X509(file.get(), nullptr, nullptr, nullptr) : nullptr, X509_free);
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  if (!read || X509_digest(read.get(), EVP_sha256(), digest, &size) != 1) {
    return error("{} is no certificate in PEM", certificate);
  }
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{}{:02X}", i == 0 ? "" : ":", digest[i]);
  return text;
}

}  // namespace hivq
