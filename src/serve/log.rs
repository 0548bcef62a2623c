//! What is told of each request, once its answer is over.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

/// A request that was answered. Its text is one line, and as JSON it is one object; neither has
/// what a client sent in headers or behind a `?`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Record {
    /// When it came.
    #[serde(serialize_with = "as_text")]
    pub time: SystemTime,
    /// Who asked.
    pub client: SocketAddr,
    /// How.
    pub method: String,
    /// For what, as it came.
    pub path: String,
    /// The status of the answer.
    pub status: u16,
    /// How many bytes of a body were given to the connection.
    pub bytes: u64,
    /// How long it took.
    #[serde(rename = "seconds", serialize_with = "as_seconds")]
    pub took: Duration,
    /// What was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

fn as_text<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_rfc3339_millis(*time))
}

fn as_seconds<S: Serializer>(took: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64((took.as_secs_f64() * 1000.0).round() / 1000.0)
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = humantime::format_rfc3339_seconds(self.time);
        let (client, seconds) = (self.client.ip(), self.took.as_secs_f64());
        let Record { method, path, status, bytes, .. } = self;
        write!(f, "{time} {client} {method} {path} {status} {bytes} bytes {seconds:.3} s")?;
        match &self.error {
            Some(error) => write!(f, ": {error}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line() {
        let mut record = Record {
            time: SystemTime::UNIX_EPOCH,
            client: "127.0.0.1:1234".parse().unwrap(),
            method: "GET".into(),
            path: "/boot".into(),
            status: 404,
            bytes: 3,
            took: Duration::from_micros(12_345),
            error: None,
        };
        let line = "1970-01-01T00:00:00Z 127.0.0.1 GET /boot 404 3 bytes 0.012 s";
        assert_eq!(record.to_string(), line);
        record.error = Some("it is not there".into());
        assert_eq!(record.to_string(), format!("{line}: it is not there"));
        let json = serde_json::to_string(&record).unwrap();
        assert_eq!(
            json,
            r#"{"time":"1970-01-01T00:00:00.000Z","client":"127.0.0.1:1234","method":"GET","path":"/boot","status":404,"bytes":3,"seconds":0.012,"error":"it is not there"}"#
        );
    }
}
