//! Which store a URL leads to, and what its errors mean.

use std::time::Duration;

use bitfront_model::FileUrl;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{
    ClientOptions, Error, HeaderValue, ObjectStore, ObjectStoreScheme, RetryConfig,
};
use url::{Position, Url};

use super::RemoteError;

/// How long a host may take to be there, and to send anything at all.
const CONNECT: Duration = Duration::from_secs(20);
const PATIENCE: Duration = Duration::from_secs(60);

/// A file or a folder in its store.
pub(super) struct Place {
    url: FileUrl,
    scheme: ObjectStoreScheme,
    pub(super) store: Box<dyn ObjectStore>,
    pub(super) path: Path,
}

impl Place {
    /// Finds the store of a URL. Nothing is asked for yet.
    pub(super) fn open(url: &FileUrl, options: &[(String, String)]) -> Result<Self, RemoteError> {
        let unasked = |scheme: &ObjectStoreScheme, reason: String| RemoteError::Unasked {
            url: url.clone(),
            reason,
            advice: advice(scheme),
        };
        let http = ObjectStoreScheme::Http;
        let parsed = Url::parse(url.as_str()).map_err(|error| unasked(&http, error.to_string()))?;
        let (scheme, path) =
            ObjectStoreScheme::parse(&parsed).map_err(|error| unasked(&http, error.to_string()))?;
        let store = store(&parsed, &scheme, options);
        Ok(Self {
            url: url.clone(),
            store: store.map_err(|error| unasked(&scheme, reason(&error)))?,
            scheme,
            path,
        })
    }

    /// Whether the store tells what it has.
    pub(super) fn has_lists(&self) -> bool {
        self.scheme != ObjectStoreScheme::Http
    }

    /// What an error of the store means for whoever reads.
    pub(super) fn error(&self, error: &Error) -> RemoteError {
        let url = self.url.clone();
        match error {
            Error::NotFound { .. } => RemoteError::NotThere(url),
            Error::PermissionDenied { .. } | Error::Unauthenticated { .. } => RemoteError::Denied {
                url,
                advice: advice(&self.scheme),
            },
            Error::Precondition { .. } => RemoteError::Changed(url),
            error => RemoteError::Away {
                url,
                reason: reason(error),
            },
        }
    }
}

/// Makes a builder of a store into that store. They are alike and have no trait in common.
macro_rules! built {
    ($builder:ty, $url:expr, $client:expr, $options:expr) => {{
        let mut builder = <$builder>::new()
            .with_client_options($client)
            // Whoever reads goes on where it broke.
            .with_retry(RetryConfig {
                max_retries: 0,
                ..RetryConfig::default()
            })
            .with_url($url);
        for (name, value) in $options {
            // Programs of the store have others too.
            if let Ok(key) = name.to_ascii_lowercase().parse() {
                builder = builder.with_config(key, value);
            }
        }
        Ok(Box::new(builder.build()?))
    }};
}

fn store(
    url: &Url,
    scheme: &ObjectStoreScheme,
    options: &[(String, String)],
) -> Result<Box<dyn ObjectStore>, Error> {
    // An error says that there is one already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = ClientOptions::new()
        .with_user_agent(HeaderValue::from_static(concat!(
            "bitfront/",
            env!("CARGO_PKG_VERSION")
        )))
        .with_connect_timeout(CONNECT)
        .with_read_timeout(PATIENCE)
        // A model takes as long as it takes.
        .with_timeout_disabled();
    match scheme {
        ObjectStoreScheme::AmazonS3 => built!(AmazonS3Builder, url.as_str(), client, options),
        ObjectStoreScheme::GoogleCloudStorage => {
            built!(GoogleCloudStorageBuilder, url.as_str(), client, options)
        }
        ObjectStoreScheme::MicrosoftAzure => {
            built!(MicrosoftAzureBuilder, url.as_str(), client, options)
        }
        _ => {
            let client = client.with_allow_http(url.scheme() == "http");
            let nothing: &[(String, String)] = &[];
            built!(HttpBuilder, &url[..Position::BeforePath], client, nothing)
        }
    }
}

/// How whoever reads becomes somebody who may.
fn advice(scheme: &ObjectStoreScheme) -> &'static str {
    match scheme {
        ObjectStoreScheme::AmazonS3 => {
            "set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_REGION for somebody who may, or \
             AWS_SKIP_SIGNATURE=true for what everybody may read; AWS_ENDPOINT names a store of your \
             own, with AWS_ALLOW_HTTP=true where it has no TLS"
        }
        ObjectStoreScheme::GoogleCloudStorage => {
            "set GOOGLE_APPLICATION_CREDENTIALS to a file of somebody who may, or \
             GOOGLE_SKIP_SIGNATURE=true for what everybody may read"
        }
        ObjectStoreScheme::MicrosoftAzure => {
            "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY for somebody who may, or \
             AZURE_SKIP_SIGNATURE=true for what everybody may read"
        }
        _ => "over http only what everybody may read is read; download it and give its path",
    }
}

/// What went wrong down to its cause, in one line. Stores may answer with a page.
fn reason(error: &Error) -> String {
    let mut text = match error {
        Error::Generic { source, .. } => source.to_string(),
        error => error.to_string(),
    };
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").chars().take(400).collect()
}
