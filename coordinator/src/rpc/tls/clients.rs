//! Whose certificates clients may show: those of some authorities that these have not revoked.

use std::path::Path;
use std::sync::Arc;

use bitfront_model::Digest;
use bitfront_proto::access::pem;
use tokio_rustls::rustls::server::danger::ClientCertVerifier;
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode as _;

use super::{End, TlsError};

/// What the certificates of clients are held against.
#[derive(Clone)]
pub(super) struct Clients {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// Differs where somebody is trusted, or is not, whom another one trusts otherwise. Lists are
    /// issued anew every few days with nothing else in them.
    pub(super) identity: Digest,
    /// The authorities, by name and file.
    authorities: Vec<(String, End)>,
    /// The lists of revoked certificates, by issuer and file, with the time until which they were to
    /// be replaced.
    lists: Vec<(String, End)>,
}

impl Clients {
    /// Reads the authorities, and the lists where there are any.
    pub(super) fn read(ca: &Path, crl: Option<&Path>) -> Result<Self, TlsError> {
        let certificates = pem::certificates(ca)?;
        let mut identity = Digest::builder();
        let mut authorities = Vec::new();
        for certificate in &certificates {
            identity.add(certificate);
            // One that is read by the verifier alone is trusted all the same; when it ends is not
            // known then.
            if let Ok(parsed) = Certificate::from_der(certificate) {
                let name = parsed.tbs_certificate().subject();
                authorities.push((of_file(name, ca), End::of(&parsed)));
            }
        }
        let roots = Arc::new(pem::authorities(ca)?);
        let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, pem::provider());
        let mut lists = Vec::new();
        if let Some(crl) = crl {
            let (found, mut issuers) = (pem::revocations(crl)?, Vec::new());
            for list in &found {
                let parsed = CertificateList::from_der(list);
                let parsed: CertificateList = parsed.map_err(|error| unusable(crl, &error))?;
                let list = parsed.tbs_cert_list;
                let issuer = list.issuer.to_string();
                identity.add(&issuer);
                for revoked in list.revoked_certificates.iter().flatten() {
                    identity.add(revoked.serial_number.as_bytes());
                }
                lists.extend(
                    list.next_update
                        .map(|end| (of_file(&issuer, crl), End::at(end))),
                );
                // Of two the verifier takes the first, which may be the older one.
                if issuers.contains(&issuer) {
                    let twice = format!("it holds two lists of `{issuer}`; keep the newest");
                    return Err(unusable(crl, &twice));
                }
                issuers.push(issuer);
            }
            verifier = verifier.with_crls(found);
        }
        let verifier = verifier.build().map_err(|error| match (&error, crl) {
            (VerifierBuilderError::InvalidCrl(_), Some(crl)) => unusable(crl, &error),
            _ => unusable(ca, &error),
        })?;
        Ok(Self {
            verifier,
            identity: identity.finish(),
            authorities,
            lists,
        })
    }

    /// What there is to say about the ends of authorities and lists.
    pub(super) fn warnings(&self, now_ms: i64) -> impl Iterator<Item = String> {
        let of_authorities = self.authorities.iter().filter_map(move |(authority, end)| {
            let ending = end.warning(now_ms)?;
            Some(format!(
                "the authority of clients {authority} {ending} and is trusted here all the same: add \
                 its successor, and remove it once clients have certificates of that"
            ))
        });
        let is_old = move |end: &End| end.at_ms <= now_ms;
        let old = self.lists.iter().filter(move |(_, end)| is_old(end));
        let of_lists = old.map(|(issuer, end)| {
            format!(
                "the list of what {issuer} has revoked was to be replaced by {} and is used all the \
                 same: put the newest one in its place",
                end.words
            )
        });
        of_authorities.chain(of_lists)
    }
}

fn of_file(name: &impl ToString, file: &Path) -> String {
    format!("`{}` in `{}`", name.to_string(), file.display())
}

fn unusable(file: &Path, reason: &impl ToString) -> TlsError {
    TlsError::Clients {
        file: file.display().to_string(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
        DnType, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
    };

    use super::*;
    use crate::testing::folder;

    const DAY_MS: i64 = 86_400_000;

    /// An authority until a day of January 1970, which begins with the first.
    fn authority(name: &str, until: u8) -> (String, Issuer<'static, KeyPair>) {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_before = date_time_ymd(1970, 1, 1);
        params.not_after = date_time_ymd(1970, 1, until);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        (pem, Issuer::new(params, key))
    }

    /// A list with these numbers, which is to be replaced by a day of January 1970.
    fn list(issuer: &Issuer<'static, KeyPair>, revoked: &[u64], until: u8) -> String {
        let revoked = revoked.iter().map(|number| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: date_time_ymd(1970, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(1970, 1, 1),
            next_update: date_time_ymd(1970, 1, until),
            crl_number: SerialNumber::from(u64::from(until)),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(issuer).unwrap().pem().unwrap()
    }

    #[test]
    fn authorities_that_end_soon_and_lists_that_are_old_are_warned_about_by_name() {
        let folder = folder();
        let [ca, crl] = ["clients.pem", "clients.crl"].map(|name| folder.path().join(name));
        let [ended, soon, late] =
            [("ended", 2), ("soon", 10), ("late", 31)].map(|(name, until)| authority(name, until));
        std::fs::write(&ca, [&*ended.0, &soon.0, &late.0].concat()).unwrap();
        let lists = [list(&soon.1, &[], 2), list(&late.1, &[], 3)];
        std::fs::write(&crl, lists.concat()).unwrap();
        let clients = Clients::read(&ca, Some(&crl)).unwrap();
        let of_authority = |name: &str, ending: &str| {
            format!(
                "the authority of clients `CN={name}` in `{}` {ending} and is trusted here all the \
                 same: add its successor, and remove it once clients have certificates of that",
                ca.display()
            )
        };
        let expected = [
            of_authority("ended", "has expired (1970-01-02T00:00:00Z)"),
            of_authority("soon", "expires in 8 days (1970-01-10T00:00:00Z)"),
            format!(
                "the list of what `CN=soon` in `{}` has revoked was to be replaced by \
                 1970-01-02T00:00:00Z and is used all the same: put the newest one in its place",
                crl.display()
            ),
        ];
        let said: Vec<_> = clients.warnings(DAY_MS).collect();
        assert_eq!(said, expected);
    }

    #[test]
    fn lists_that_are_issued_anew_trust_the_same_and_two_of_one_issuer_are_refused() {
        let folder = folder();
        let [ca, crl] = ["clients.pem", "clients.crl"].map(|name| folder.path().join(name));
        let (pem, issuer) = authority("one", 31);
        std::fs::write(&ca, pem).unwrap();
        let read = |lists: &[String]| {
            std::fs::write(&crl, lists.concat()).unwrap();
            Clients::read(&ca, Some(&crl))
        };
        let identity = |revoked: &[u64], until: u8| {
            let read = read(&[list(&issuer, revoked, until)]);
            read.map(|clients| clients.identity).unwrap()
        };
        assert_eq!(identity(&[7], 3), identity(&[7], 4));
        assert_ne!(identity(&[7], 3), identity(&[7, 8], 3));
        let alone = Clients::read(&ca, None).unwrap().identity;
        assert_ne!(identity(&[], 3), alone);

        let twice = read(&[list(&issuer, &[], 3), list(&issuer, &[7], 4)]);
        let error = twice.map(drop).unwrap_err().to_string();
        assert!(
            error.contains("two lists of `CN=one`; keep the newest"),
            "{error}"
        );
    }
}
