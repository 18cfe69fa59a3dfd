//! `bitfront serve`: runs a coordinator.

use std::sync::Arc;

use anyhow::Context as _;
use bitfront_coordinator::config::SILENT_BEATS;
use bitfront_coordinator::{
    Admission, Bounds, Coordinator, Database, Listeners, SystemClock, TlsFiles,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::args::ServeArguments;
use crate::local::Place;
use crate::problem::ExitStatus;
use crate::settings;
use crate::signals::interrupted;

use super::session::Session;

/// Serves until it is told to stop.
pub(super) async fn serve(typed: ServeArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let place = Place::new(&session.config);
    let database = match typed.database {
        Some(typed) => Database::named(&typed.0),
        None => place.database,
    };
    let calls = listen(&typed.listen).await?;
    let web = match &typed.web_listen {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let address = calls.local_addr()?;
    let web_address = web.as_ref().map(TcpListener::local_addr).transpose()?;
    let stop = CancellationToken::new();
    let scheme = if typed.tls_cert.is_some() {
        "https"
    } else {
        "http"
    };
    let tls = typed.tls_cert.zip(typed.tls_key);
    let tls = tls.map(|(certificate, key)| TlsFiles {
        certificate,
        key,
        client_ca: typed.client_ca,
        client_crl: typed.client_crl,
    });
    let mut addresses = [address].into_iter().chain(web_address);
    let is_reached = addresses.any(|address| !address.ip().is_loopback());
    let is_closed = typed.require_tokens || (is_reached && !typed.insecure_open);
    let admission = match is_closed {
        true => Admission::Tokens,
        false => Admission::Open,
    };
    let usual = bitfront_coordinator::Config::new(database);
    let config = bitfront_coordinator::Config {
        blobs: typed.blobs.or(usual.blobs.clone()).or(Some(place.blobs)),
        tls,
        admission,
        bounds: Bounds {
            calls_per_token: typed.calls_per_token,
            ..usual.bounds
        },
        insecure_open: typed.insecure_open,
        lease_time: settings::duration("--lease-time", &typed.lease_time)?,
        beat: settings::duration("--take-over-after", &typed.take_over_after)? / SILENT_BEATS,
        ..usual
    };
    let clock = Arc::new(SystemClock::new());
    let (printer, ends) = (session.printer.clone(), stop.clone());
    let life = async move {
        let coordinator = Coordinator::open(config, Listeners { calls, web }, clock).await?;
        printer.say(format_args!("listening on {scheme}://{address}"));
        if let Some(address) = web_address {
            printer.say(format_args!("health and metrics at {scheme}://{address}"));
        }
        coordinator.serve(ends).await
    };
    tokio::pin!(life);
    tokio::select! {
        ended = &mut life => ended?,
        () = interrupted() => {
            session.printer.say("stopping");
            stop.cancel();
            life.await?;
        }
    }
    Ok(ExitStatus::Success)
}

async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let listener = TcpListener::bind(address).await;
    listener.with_context(|| format!("cannot listen on {address}"))
}
