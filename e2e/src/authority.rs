//! Certificates for tests, as files.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bitfront_proto::access::Identity;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
    date_time_ymd,
};

/// Who vouches for certificates.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// The names of the certificates that it has issued; each is numbered by its place.
    issued: Mutex<Vec<String>>,
    folder: PathBuf,
    file: PathBuf,
}

impl Authority {
    /// Makes one, whose certificate lies in a folder under its name.
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let file = folder.join(format!("{name}.pem"));
        std::fs::write(&file, certificate.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            issued: Mutex::default(),
            folder: folder.to_owned(),
            file,
        }
    }

    /// Its certificate.
    pub fn file(&self) -> PathBuf {
        self.file.clone()
    }

    /// Issues a certificate for a host, for servers and clients, until the end of the year before;
    /// replaces what lies under its name.
    pub fn issue(&self, name: &str, host: &str, year: i32) -> Identity {
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.not_after = date_time_ymd(year, 1, 1);
        let mut issued = self.issued.lock().unwrap();
        issued.push(name.to_owned());
        params.serial_number = Some(SerialNumber::from(issued.len() as u64));
        drop(issued);
        let key = KeyPair::generate().unwrap();
        let issued = params.signed_by(&key, &self.issuer).unwrap();
        let identity = Identity {
            certificate: self.folder.join(format!("{name}.cert.pem")),
            key: self.folder.join(format!("{name}.key.pem")),
        };
        std::fs::write(&identity.certificate, issued.pem()).unwrap();
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }

    /// Lists the certificates of these names as revoked; replaces the list before it.
    pub fn revoke(&self, names: &[&str]) -> PathBuf {
        let issued = self.issued.lock().unwrap();
        let numbered = (1_u64..).zip(&*issued);
        let revoked = numbered.filter(|(_, name)| names.contains(&name.as_str()));
        let revoked_certs = revoked.map(|(number, _)| RevokedCertParams {
            serial_number: SerialNumber::from(number),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked_certs.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&self.issuer).unwrap();
        let file = self.file.with_extension("crl");
        std::fs::write(&file, list.pem().unwrap()).unwrap();
        file
    }
}
