//! Certificates and keys in PEM files, for both ends of a connection.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
};

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It cannot be read.
    #[error("cannot read `{}`: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// What is looked for is not in it.
    #[error(
        "`{}` holds no {what} in PEM (`-----BEGIN {begins}-----`): {reason}",
        file.display()
    )]
    Absent {
        /// The file.
        file: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// How that begins.
        begins: &'static str,
        /// What was found instead.
        reason: String,
    },
    /// A certificate in it cannot be understood.
    #[error("a certificate in `{}` cannot be used: {reason}", file.display())]
    Unusable {
        /// The file.
        file: PathBuf,
        /// Why not.
        reason: String,
    },
}

/// The cryptography of every connection.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates of a file, in their order; one at least.
///
/// # Errors
///
/// [`PemError`].
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    all(file, "certificate", "CERTIFICATE")
}

/// The lists of revoked certificates of a file; one at least.
///
/// # Errors
///
/// [`PemError`].
pub fn revocations(file: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, PemError> {
    all(file, "list of revoked certificates", "X509 CRL")
}

fn all<T: PemObject>(
    file: &Path,
    what: &'static str,
    begins: &'static str,
) -> Result<Vec<T>, PemError> {
    let text = read(file)?;
    let found: Result<Vec<_>, _> = T::pem_slice_iter(&text).collect();
    let reason = match found {
        Ok(found) if found.is_empty() => "there is none".to_owned(),
        Ok(found) => return Ok(found),
        Err(error) => error.to_string(),
    };
    Err(PemError::Absent {
        file: file.to_owned(),
        what,
        begins,
        reason,
    })
}

/// The private key of a file.
///
/// # Errors
///
/// [`PemError`].
pub fn key(file: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    let text = read(file)?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| PemError::Absent {
        file: file.to_owned(),
        what: "private key without a password",
        begins: "PRIVATE KEY",
        reason: error.to_string(),
    })
}

/// The certificates of a file as authorities.
///
/// # Errors
///
/// [`PemError`].
pub fn authorities(file: &Path) -> Result<RootCertStore, PemError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(file)? {
        store.add(certificate).map_err(|error| PemError::Unusable {
            file: file.to_owned(),
            reason: error.to_string(),
        })?;
    }
    Ok(store)
}

fn read(file: &Path) -> Result<Vec<u8>, PemError> {
    std::fs::read(file).map_err(|reason| PemError::Unreadable {
        file: file.to_owned(),
        reason,
    })
}
