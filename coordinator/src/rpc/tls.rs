//! The certificate that the coordinator shows, and the authorities of those that it asks for.
//!
//! The files are read again when they change: whoever renews a certificate replaces its files, and
//! connections that are made from then on see the new one. Files that cannot be used, such as a
//! certificate whose key has not been replaced yet, change nothing and are told once.

mod clients;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bitfront_model::Digest;
use bitfront_proto::access::pem::{self, PemError};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{ServerConfig, version};
use tokio_util::sync::CancellationToken;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::time::Time;

use crate::clock::Clock;
use crate::config::TlsFiles;
use clients::Clients;

/// Between two looks at the files.
const BETWEEN_LOOKS: Duration = Duration::from_secs(5);

/// How long before its end a certificate is warned about.
const WARNED_BEFORE: Duration = Duration::from_secs(14 * 86_400);

/// Between two warnings.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(86_400);

/// Why the coordinator cannot serve over TLS.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error(transparent)]
    File(#[from] PemError),
    #[error(
        "the certificate `{certificate}` and the key `{key}` cannot be used together: {reason}"
    )]
    Pair {
        certificate: String,
        key: String,
        reason: String,
    },
    #[error("what clients are trusted by in `{file}` cannot be used: {reason}")]
    Clients { file: String, reason: String },
    #[error(
        "the certificate `{certificate}` has expired ({ended}), so no client would trust this \
         coordinator: renew it"
    )]
    Expired { certificate: String, ended: String },
}

/// Accepts connections with whatever certificate is there now.
pub(crate) struct Tls {
    files: TlsFiles,
    clock: Arc<dyn Clock>,
    /// What the files held when they were opened.
    seen: Digest,
    /// Behind a std lock, held for a look only.
    current: RwLock<Current>,
}

#[derive(Clone)]
struct Current {
    config: Arc<ServerConfig>,
    /// For what is read with a browser's protocol, by clients that need no certificate.
    web: Arc<ServerConfig>,
    end: End,
    /// None where clients show no certificates.
    clients: Option<Clients>,
    /// Ends when somebody else is trusted.
    era: CancellationToken,
}

/// When a certificate ends.
#[derive(Clone)]
struct End {
    /// In milliseconds since 1970.
    at_ms: i64,
    words: String,
}

impl End {
    fn of(certificate: &Certificate) -> Self {
        Self::at(certificate.tbs_certificate().validity().not_after)
    }

    fn at(end: Time) -> Self {
        Self {
            at_ms: i64::try_from(end.to_unix_duration().as_millis()).unwrap_or(i64::MAX),
            words: end.to_string(),
        }
    }

    /// That it has come or comes soon, where it is so.
    fn warning(&self, now_ms: i64) -> Option<String> {
        let Self { at_ms, words } = self;
        match u64::try_from(at_ms - now_ms).map(Duration::from_millis) {
            Err(_) | Ok(Duration::ZERO) => Some(format!("has expired ({words})")),
            Ok(left) if left <= WARNED_BEFORE => Some(format!(
                "expires in {} days ({words})",
                left.as_secs() / 86_400
            )),
            Ok(_) => None,
        }
    }
}

impl Tls {
    /// Reads the files.
    pub(crate) fn open(files: TlsFiles, clock: Arc<dyn Clock>) -> Result<Self, TlsError> {
        // Before they are read: what is replaced meanwhile is read again.
        let seen = contents(&files);
        let current = read_valid(&files, &*clock)?;
        Ok(Self {
            files,
            clock,
            seen,
            current: RwLock::new(current),
        })
    }

    /// What the next connection is accepted with, and what ends when its client might not be trusted
    /// any more.
    pub(super) fn acceptor(&self) -> (TlsAcceptor, CancellationToken) {
        let current = self.current();
        (current.config.into(), current.era)
    }

    /// What the next connection is accepted with that is not for calls.
    pub(crate) fn web_acceptor(&self) -> TlsAcceptor {
        self.current().web.into()
    }

    /// Reads the files again when they have changed, and warns of a certificate that ends soon,
    /// until the shutdown.
    pub(super) async fn tend(&self, shutdown: CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = self.watch(|warning| tracing::warn!("{warning}")) => {}
        }
    }

    async fn watch(&self, mut warn: impl FnMut(String)) {
        let mut seen = self.seen;
        let mut warned = None;
        loop {
            let now = self.clock.elapsed();
            if warned.is_none_or(|warned| now >= warned + BETWEEN_WARNINGS) {
                for warning in self.warnings() {
                    warn(warning);
                    warned = Some(now);
                }
            }
            self.clock.sleep(BETWEEN_LOOKS).await;
            let contents = contents(&self.files);
            if contents == seen {
                continue;
            }
            seen = contents;
            match read_valid(&self.files, &*self.clock) {
                Ok(current) => {
                    self.replace(current);
                    warned = None;
                }
                Err(error) => warn(format!("the certificate before it is still used: {error}")),
            }
        }
    }

    /// Goes on with other files. Where other clients are trusted by them, connections that were made
    /// before end: whoever is still trusted makes another one.
    fn replace(&self, mut new: Current) {
        tracing::info!(
            "files of TLS were replaced; the certificate is one until {}",
            new.end.words
        );
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let identity = |current: &Current| current.clients.as_ref().map(|clients| clients.identity);
        match identity(&new) == identity(&current) {
            true => new.era = current.era.clone(),
            false => current.era.cancel(),
        }
        *current = new;
    }

    /// What there is to say about the ends of certificates.
    fn warnings(&self) -> Vec<String> {
        let (current, now_ms) = (self.current(), self.clock.now_ms());
        let own = current.end.warning(now_ms).map(|ending| {
            let file = self.files.certificate.display();
            format!("the certificate `{file}` {ending}, after which no client trusts it: renew it")
        });
        let of_clients = current.clients.iter();
        let of_clients = of_clients.flat_map(|clients| clients.warnings(now_ms));
        own.into_iter().chain(of_clients).collect()
    }

    fn current(&self) -> Current {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the files hold; those that cannot be read hold nothing.
fn contents(files: &TlsFiles) -> Digest {
    let TlsFiles {
        certificate,
        key,
        client_ca,
        client_crl,
    } = files;
    [certificate, key]
        .into_iter()
        .chain(client_ca)
        .chain(client_crl)
        .fold(Digest::builder(), |digest, file| {
            digest.part(std::fs::read(file).unwrap_or_default())
        })
        .finish()
}

/// Reads the files, whose certificate has not expired.
fn read_valid(files: &TlsFiles, clock: &dyn Clock) -> Result<Current, TlsError> {
    let current = read(files)?;
    match current.end.at_ms <= clock.now_ms() {
        true => Err(TlsError::Expired {
            certificate: files.certificate.display().to_string(),
            ended: current.end.words,
        }),
        false => Ok(current),
    }
}

fn read(files: &TlsFiles) -> Result<Current, TlsError> {
    let chain = pem::certificates(&files.certificate)?;
    let key = pem::key(&files.key)?;
    let pair = |reason: String| TlsError::Pair {
        certificate: files.certificate.display().to_string(),
        key: files.key.display().to_string(),
        reason,
    };
    let first = chain
        .first()
        .map(|first| first.as_ref())
        .unwrap_or_default();
    let parsed = Certificate::from_der(first);
    let parsed = parsed.map_err(|error| pair(error.to_string()))?;
    let builder = || {
        ServerConfig::builder_with_provider(pem::provider())
            .with_protocol_versions(&[&version::TLS13])
            .map_err(|error| pair(error.to_string()))
    };
    let mut web = builder()?
        .with_no_client_auth()
        .with_single_cert(chain.clone(), key.clone_key())
        .map_err(|error| pair(error.to_string()))?;
    web.alpn_protocols = vec![b"http/1.1".to_vec()];
    let builder = builder()?;
    let clients = match &files.client_ca {
        Some(ca) => Some(Clients::read(ca, files.client_crl.as_deref())?),
        None => None,
    };
    let builder = match &clients {
        Some(clients) => builder.with_client_cert_verifier(clients.verifier.clone()),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| pair(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Current {
        config: Arc::new(config),
        web: Arc::new(web),
        end: End::of(&parsed),
        clients,
        era: CancellationToken::new(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;
    use crate::clock::ManualClock;
    use crate::testing::folder;

    /// Writes a certificate until a day of January 1970, which begins with the second by the clock
    /// of the tests.
    fn issue(folder: &Path, until: u8) -> TlsFiles {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(1970, 1, 1);
        params.not_after = date_time_ymd(1970, 1, until);
        let key = KeyPair::generate().unwrap();
        let files = TlsFiles {
            certificate: folder.join("cert.pem"),
            key: folder.join("key.pem"),
            client_ca: None,
            client_crl: None,
        };
        std::fs::write(&files.certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        files
    }

    #[tokio::test]
    async fn a_certificate_that_ends_soon_is_warned_about_once_a_day() {
        let folder = folder();
        let files = issue(folder.path(), 18);
        let clock = Arc::new(ManualClock::new());
        let tls = Tls::open(files.clone(), clock.clone()).unwrap();
        let warnings = Mutex::new(Vec::new());
        // Minute by minute, so that every look happens.
        let days = async |days: u64| {
            for _ in 0..days * 24 * 60 {
                clock.advance(Duration::from_secs(60));
                tokio::task::yield_now().await;
            }
            warnings.lock().unwrap().split_off(0)
        };
        let told = async {
            let before = days(1).await;
            let soon = days(3).await;
            std::fs::write(&files.key, "no key").unwrap();
            let half = days(1).await;
            issue(folder.path(), 2);
            let ended = days(1).await;
            issue(folder.path(), 31);
            let renewed = days(2).await;
            [before, soon, half, ended, renewed]
        };
        let [before, soon, half, ended, renewed] = tokio::select! {
            told = told => told,
            () = tls.watch(|warning| warnings.lock().unwrap().push(warning)) => unreachable!(),
        };
        assert_eq!(before, [] as [&str; 0]);
        let parts = |warnings: &[String], part: &str| {
            warnings
                .iter()
                .filter(|warning| warning.contains(part))
                .count()
        };
        let ends = "(1970-01-18T00:00:00Z), after which no client trusts it: renew it";
        assert!((2..=3).contains(&parts(&soon, ends)), "{soon:#?}");
        let first = soon.first().unwrap();
        let is_told = ["14", "13"].map(|days| first.contains(&format!("expires in {days} days")));
        assert!(is_told.contains(&true), "{soon:#?}");
        assert_eq!(parts(&half, "is still used: `"), 1, "{half:#?}");
        assert_eq!(parts(&ended, "is still used: the"), 1, "{ended:#?}");
        assert_eq!(renewed, [] as [&str; 0]);

        let ended = issue(folder.path(), 2);
        let error = Tls::open(ended, clock).map(drop).unwrap_err();
        assert!(matches!(error, TlsError::Expired { .. }), "{error}");
    }
}
