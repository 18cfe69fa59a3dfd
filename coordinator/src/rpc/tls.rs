//! The certificate that the coordinator shows, and the authorities of those that it asks for.
//!
//! The files are read again when they change: whoever renews a certificate replaces its files, and
//! connections that are made from then on see the new one. Files that cannot be used, such as a
//! certificate whose key has not been replaced yet, change nothing and are told once.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bitfront_model::Digest;
use bitfront_proto::access::pem::{self, PemError};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{ServerConfig, version};
use tokio_util::sync::CancellationToken;
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode as _;
use x509_cert::time::Time;

use crate::clock::Clock;
use crate::config::TlsFiles;

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
    /// Those of the authorities of clients, with their names and files.
    of_authorities: Vec<(String, End)>,
    /// Until when the lists of revoked certificates were to be replaced.
    of_revocations: Vec<End>,
    /// What the files held that clients are trusted by.
    trust: Digest,
    /// Ends when clients are trusted by other files than those.
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

    /// Goes on with other files. Where clients are trusted by others, connections that were made
    /// before end: whoever is still trusted makes another one.
    fn replace(&self, mut new: Current) {
        tracing::info!(
            "files of TLS were replaced; the certificate is one until {}",
            new.end.words
        );
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        match new.trust == current.trust {
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
        let mut warnings = Vec::from_iter(own);
        for (authority, end) in &current.of_authorities {
            if let Some(ending) = end.warning(now_ms) {
                warnings.push(format!(
                    "the authority of clients {authority} {ending}, after which clients with its \
                     certificates are refused: add its successor there, or remove it"
                ));
            }
        }
        for end in current.of_revocations {
            if end.at_ms <= now_ms {
                warnings.push(format!(
                    "a list of revoked certificates in `{}` was to be replaced by {}: what was revoked \
                     since is not known here; put the newest one there",
                    shown(self.files.client_crl.as_ref()),
                    end.words
                ));
            }
        }
        warnings
    }

    fn current(&self) -> Current {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What the files hold; those that cannot be read hold nothing.
fn contents(files: &TlsFiles) -> Digest {
    digest(
        [&files.certificate, &files.key]
            .into_iter()
            .chain(of_clients(files)),
    )
}

/// Those by which clients are trusted.
fn of_clients(files: &TlsFiles) -> impl Iterator<Item = &PathBuf> {
    files.client_ca.iter().chain(&files.client_crl)
}

fn digest<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Digest {
    let held = files.map(|file| std::fs::read(file).unwrap_or_default());
    held.fold(Digest::builder(), |digest, held| digest.part(held))
        .finish()
}

fn shown(file: Option<&PathBuf>) -> String {
    file.map_or_else(String::new, |file| file.display().to_string())
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
    // Before they are read: what is replaced meanwhile is read again.
    let trust = digest(of_clients(files));
    let (mut of_authorities, mut of_revocations) = (Vec::new(), Vec::new());
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let roots = Arc::new(pem::authorities(file)?);
            let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, pem::provider());
            if let Some(file) = &files.client_crl {
                let lists = pem::revocations(file)?;
                let parsed = lists
                    .iter()
                    .flat_map(|list| CertificateList::from_der(list));
                let next =
                    parsed.filter_map(|parsed: CertificateList| parsed.tbs_cert_list.next_update);
                of_revocations.extend(next.map(End::at));
                verifier = verifier.with_crls(lists);
            }
            let verifier = verifier.build().map_err(|error| TlsError::Clients {
                file: match error {
                    VerifierBuilderError::InvalidCrl(_) => shown(files.client_crl.as_ref()),
                    _ => shown(files.client_ca.as_ref()),
                },
                reason: error.to_string(),
            })?;
            for authority in pem::certificates(file)? {
                // One that is read by the verifier alone is trusted all the same; when it ends is not
                // known then.
                if let Ok(parsed) = Certificate::from_der(&authority) {
                    let name = parsed.tbs_certificate().subject();
                    let name = format!("`{name}` in `{}`", file.display());
                    of_authorities.push((name, End::of(&parsed)));
                }
            }
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| pair(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Current {
        config: Arc::new(config),
        web: Arc::new(web),
        end: End::of(&parsed),
        of_authorities,
        of_revocations,
        trust,
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

    #[tokio::test]
    async fn authorities_of_clients_that_end_soon_are_warned_about_by_name() {
        let folder = folder();
        let bundle = ["ended", "soon", "late"].map(|name| {
            let mut params = CertificateParams::default();
            params.distinguished_name = rcgen::DistinguishedName::new();
            params
                .distinguished_name
                .push(rcgen::DnType::CommonName, name);
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
            params.not_before = date_time_ymd(1970, 1, 1);
            params.not_after = match name {
                "ended" => date_time_ymd(1970, 1, 2),
                "soon" => date_time_ymd(1970, 1, 10),
                _ => date_time_ymd(1971, 1, 1),
            };
            params
                .self_signed(&KeyPair::generate().unwrap())
                .unwrap()
                .pem()
        });
        let client_ca = folder.path().join("clients.pem");
        std::fs::write(&client_ca, bundle.concat()).unwrap();
        let files = TlsFiles {
            client_ca: Some(client_ca.clone()),
            ..issue(folder.path(), 31)
        };
        let warnings = Tls::open(files, Arc::new(ManualClock::new())).unwrap();
        let file = client_ca.display();
        let said = |name: &str, ending: &str| {
            format!(
                "the authority of clients `CN={name}` in `{file}` {ending}, after which clients with \
                 its certificates are refused: add its successor there, or remove it"
            )
        };
        let expected = [
            said("ended", "has expired (1970-01-02T00:00:00Z)"),
            said("soon", "expires in 8 days (1970-01-10T00:00:00Z)"),
        ];
        assert_eq!(warnings.warnings(), expected);
    }
}
