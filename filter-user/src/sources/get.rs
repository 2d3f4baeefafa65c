//! One request for a file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use ureq::config::RedirectAuthHeaders;
use ureq::http::{StatusCode, header};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, http};

use super::Version;
use crate::config::Fetch;
use crate::digest::hexadecimal;

/// Redirects that are followed.
const REDIRECTS_MAX: u32 = 5;
/// Bytes that are taken at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Longest signature.
const SIGNATURE_BYTES_MAX: u64 = 1 << 20;

/// What a server gave.
#[derive(Debug)]
pub(super) enum Got {
    /// What is known is still right.
    Same,
    /// A file.
    File(Version),
}

/// Asks for a registry's file, and writes what comes to `into`. `known`: what the server need not send again.
///
/// # Errors
/// Why nothing came that could be used; without a password.
pub(super) fn file(fetch: &Fetch, known: Option<&Version>, into: &Path) -> Result<Got, String> {
    let mut request = agent(fetch)?.get(&fetch.url);
    if let Some(etag) = known.and_then(|known| known.etag.as_ref()) {
        request = request.header(header::IF_NONE_MATCH, etag);
    }
    if let Some(modified) = known.and_then(|known| known.last_modified.as_ref()) {
        request = request.header(header::IF_MODIFIED_SINCE, modified);
    }
    if let Some(credentials) = credentials(fetch)? {
        request = request.header(header::AUTHORIZATION, credentials);
    }
    let mut response = request.call().map_err(|error| error.to_string())?;
    match response.status() {
        StatusCode::NOT_MODIFIED if known.is_some() => return Ok(Got::Same),
        StatusCode::OK => {}
        other => return Err(format!("the server says {other}")),
    }
    let text = |name: http::HeaderName| {
        let value = response.headers().get(name)?;
        value.to_str().ok().map(str::to_owned)
    };
    let (etag, last_modified) = (text(header::ETAG), text(header::LAST_MODIFIED));
    let sha256 = save(response.body_mut(), fetch.size_max, into)?;
    Ok(Got::File(Version {
        etag,
        last_modified,
        sha256,
    }))
}

/// Asks for the signature of a file, and writes it to `into`.
///
/// # Errors
/// As [`file`].
pub(super) fn signature(fetch: &Fetch, url: &str, into: &Path) -> Result<(), String> {
    let mut request = agent(fetch)?.get(url);
    // The password belongs to the registry's host.
    let host = |url: &str| url.parse::<http::Uri>().ok()?.authority().cloned();
    if host(url) == host(&fetch.url)
        && url.starts_with("https://")
        && let Some(credentials) = credentials(fetch)?
    {
        request = request.header(header::AUTHORIZATION, credentials);
    }
    let mut response = request.call().map_err(|error| error.to_string())?;
    if response.status() != StatusCode::OK {
        return Err(format!("the server says {}", response.status()));
    }
    save(response.body_mut(), SIGNATURE_BYTES_MAX, into).map(|_| ())
}

fn agent(fetch: &Fetch) -> Result<Agent, String> {
    let mut tls = TlsConfig::builder();
    if let Some(file) = &fetch.ca_file {
        let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
        let pem = std::fs::read(file).map_err(|error| failed(&error))?;
        let mut roots = Vec::new();
        for item in parse_pem(&pem) {
            match item.map_err(|error| failed(&error))? {
                PemItem::Certificate(certificate) => roots.push(certificate),
                _ => return Err(failed(&"holds more than certificates")),
            }
        }
        if roots.is_empty() {
            return Err(failed(&"holds no certificate"));
        }
        tls = tls.root_certs(RootCerts::new_with_certs(&roots));
    }
    let config = Agent::config_builder()
        .tls_config(tls.build())
        .timeout_global(Some(fetch.timeout))
        .https_only(fetch.url.starts_with("https://"))
        .max_redirects(REDIRECTS_MAX)
        .redirect_auth_headers(RedirectAuthHeaders::SameHost)
        .http_status_as_error(false)
        .user_agent(concat!("schoolgate/", env!("CARGO_PKG_VERSION")))
        .build();
    Ok(config.into())
}

/// The `Authorization` of RFC 7617.
fn credentials(fetch: &Fetch) -> Result<Option<String>, String> {
    use base64::Engine as _;
    let Some((user, file)) = &fetch.user else {
        return Ok(None);
    };
    let password = std::fs::read_to_string(file);
    let password = password.map_err(|error| format!("{}: {error}", file.display()))?;
    let password = password.trim_end_matches(['\r', '\n']);
    let text = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    Ok(Some(format!("Basic {text}")))
}

/// Writes a body, unpacked, to a file; its SHA-256.
fn save(body: &mut Body, size_max: u64, into: &Path) -> Result<String, String> {
    let mut file = create(into).map_err(|error| format!("{}: {error}", into.display()))?;
    let mut hash = Sha256::new();
    let mut reader = body.with_config().limit(u64::MAX).reader();
    let mut buffer = vec![0u8; BUFFER_BYTES];
    let mut size = 0u64;
    loop {
        let read = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(format!("the answer broke off: {error}")),
        };
        size += read as u64;
        if size > size_max {
            let most = size_max >> 20;
            return Err(format!(
                "larger than {most} MiB, unpacked: raise size_max_mib if it is meant to be"
            ));
        }
        let part = buffer.get(..read).unwrap_or_default();
        hash.update(part);
        file.write_all(part)
            .map_err(|error| format!("{}: {error}", into.display()))?;
    }
    file.sync_all()
        .map_err(|error| format!("{}: {error}", into.display()))?;
    Ok(hexadecimal(&hash.finalize()))
}

fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}
