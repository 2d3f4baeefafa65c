//! A certification authority of the lab's own, which certifies any name on demand.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SerialNumber};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::TempDir;

/// The name certified where a client names none.
pub const NO_NAME: &str = "no-name.invalid";

/// The authority. Its certificate lies in a file for clients that are programs.
pub struct Authority {
    issuer: Arc<Issuer>,
    client: Arc<ClientConfig>,
    directory: TempDir,
}

/// The keys, shared with servers whose connections may outlive the authority's directory.
pub struct Issuer {
    root: CertifiedIssuer<'static, KeyPair>,
    leaf_key: KeyPair,
    /// Number of the last certificate: two with the same one are a forgery to some browsers.
    serial: AtomicU64,
    servers: Mutex<HashMap<String, Arc<ServerConfig>>>,
}

impl Authority {
    /// Makes keys and the root certificate.
    ///
    /// # Errors
    /// No key can be made, or the certificate file cannot be written.
    pub fn new() -> anyhow::Result<Authority> {
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters
            .distinguished_name
            .push(rcgen::DnType::CommonName, "Schoolgate lab authority");
        let root = CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?;
        let client = client_config(root.der().clone())?;
        let directory = TempDir::new()?;
        write(&directory.path().join("ca.pem"), &root.pem())?;
        let leaf_key = KeyPair::generate()?;
        let servers = Mutex::default();
        let issuer = Arc::new(Issuer {
            root,
            leaf_key,
            serial: AtomicU64::new(1),
            servers,
        });
        Ok(Authority {
            issuer,
            client,
            directory,
        })
    }

    /// The root certificate, PEM.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// What a client needs that trusts this authority alone.
    #[must_use]
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.client)
    }

    /// What a server needs.
    #[must_use]
    pub fn issuer(&self) -> Arc<Issuer> {
        Arc::clone(&self.issuer)
    }

    /// Writes a certificate for `name` and its key as PEM files, for servers that are programs.
    ///
    /// # Errors
    /// The name cannot stand in a certificate, or the files cannot be written.
    pub fn write_server_files(&self, name: &str) -> anyhow::Result<ServerFiles> {
        let certificate = self.issuer.certify(name)?;
        let at = |end: &str| self.directory.path().join(format!("{name}.{end}"));
        let files = ServerFiles {
            certificate: at("crt"),
            key: at("key"),
        };
        write(&files.certificate, &certificate.pem())?;
        write(&files.key, &self.issuer.leaf_key.serialize_pem())?;
        Ok(files)
    }
}

impl Issuer {
    /// What a server needs to answer as `name`; made at the first use.
    ///
    /// # Errors
    /// The name cannot stand in a certificate.
    pub fn server(&self, name: &str) -> anyhow::Result<Arc<ServerConfig>> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = servers.get(name) {
            return Ok(Arc::clone(found));
        }
        let made = Arc::new(self.server_config(name)?);
        servers.insert(name.to_owned(), Arc::clone(&made));
        Ok(made)
    }

    fn certify(&self, name: &str) -> anyhow::Result<rcgen::Certificate> {
        let mut parameters = CertificateParams::new(vec![name.to_owned()])?;
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        parameters.serial_number = Some(SerialNumber::from(serial));
        Ok(parameters.signed_by(&self.leaf_key, &self.root)?)
    }

    /// What a server of HTTP/3 needs to answer as whatever name it is asked for.
    ///
    /// # Errors
    /// The library has no TLS 1.3.
    pub fn http3(self: &Arc<Issuer>) -> anyhow::Result<ServerConfig> {
        let provider = Arc::new(ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(AnyName(Arc::clone(self))));
        config.alpn_protocols = vec![b"h3".to_vec()];
        Ok(config)
    }

    fn certified(&self, name: &str) -> anyhow::Result<CertifiedKey> {
        let certificate = self.certify(name)?;
        Ok(CertifiedKey::from_der(
            vec![certificate.der().clone()],
            self.leaf_key_der()?,
            &ring::default_provider(),
        )?)
    }

    fn leaf_key_der(&self) -> anyhow::Result<PrivateKeyDer<'static>> {
        PrivateKeyDer::try_from(self.leaf_key.serialize_der())
            .map_err(|reason| anyhow::anyhow!("leaf key: {reason}"))
    }

    fn server_config(&self, name: &str) -> anyhow::Result<ServerConfig> {
        let certificate = self.certify(name)?;
        let key = self.leaf_key_der()?;
        let provider = Arc::new(ring::default_provider());
        Ok(ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?)
    }
}

/// A certificate for every name that is asked for, made on demand.
struct AnyName(Arc<Issuer>);

impl std::fmt::Debug for AnyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AnyName")
    }
}

impl ResolvesServerCert for AnyName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().unwrap_or(NO_NAME);
        self.0.certified(name).ok().map(Arc::new)
    }
}

/// PEM files of a server.
#[derive(Clone, Debug)]
pub struct ServerFiles {
    /// Its certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

fn client_config(root: CertificateDer<'static>) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add(root)?;
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}
