//! A token server of the tests' own: what it gives, docker-registry's `auth: token` takes, and so
//! does the tests' registry. It follows Docker's "Token Authentication Specification" (GET) and
//! "OAuth2 Token Authentication" (POST).

use std::collections::{HashMap, HashSet};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, KeyPair, SigningKey};
use serde_json::json;

use super::Scratch;
use super::answer::Response;
use super::encode::{base64, form};
use super::http::{Body, HttpServer, Request, lock};

/// docker-registry takes a token for so long after its end.
const LEEWAY: u64 = 60;
const ISSUER: &str = "osimage-tests";
pub const SERVICE: &str = "registry.test";

/// What a client asked for a token with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TokenRequest {
    pub method: String,
    /// The user whose credentials were right; none for an anonymous client and for wrong ones.
    pub user: Option<String>,
    /// As asked, such as `repository:os:pull,push`.
    pub scopes: Vec<String>,
    pub status: u16,
}

struct Grant {
    scopes: Vec<String>,
    end: SystemTime,
}

type Rule = Box<dyn FnMut(&Request) -> Option<Response> + Send>;

/// What the token server and a registry know together.
pub struct Tokens {
    realm: Mutex<String>,
    key: KeyPair,
    certificate: rcgen::Certificate,
    users: Mutex<HashMap<String, String>>,
    refresh: Mutex<HashMap<String, String>>,
    anonymous: Mutex<HashSet<String>>,
    lifetime: Mutex<Duration>,
    grants: Mutex<HashMap<String, Grant>>,
    asked: Mutex<Vec<TokenRequest>>,
    rules: Mutex<Vec<Rule>>,
}

/// A token server that runs until it is dropped.
pub struct TokenServer {
    server: HttpServer,
    pub tokens: Arc<Tokens>,
}

impl Deref for TokenServer {
    type Target = HttpServer;

    fn deref(&self) -> &HttpServer {
        &self.server
    }
}

impl TokenServer {
    /// A server that knows the user `alice` with the password `s3cret`; nobody else may do
    /// anything.
    pub fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let key = KeyPair::generate().expect("a key");
        let certificate = CertificateParams::new([])
            .expect("parameters")
            .self_signed(&key)
            .expect("a certificate");
        let tokens = Arc::new(Tokens {
            realm: Mutex::default(),
            key,
            certificate,
            users: Mutex::new(HashMap::from([("alice".to_owned(), "s3cret".to_owned())])),
            refresh: Mutex::default(),
            anonymous: Mutex::default(),
            lifetime: Mutex::new(Duration::from_secs(300)),
            grants: Mutex::default(),
            asked: Mutex::default(),
            rules: Mutex::default(),
        });
        let server = {
            let tokens = tokens.clone();
            HttpServer::start(tls, move |request, body| tokens.answer(request, body))
        };
        *lock(&tokens.realm) = server.url("/token");
        TokenServer { server, tokens }
    }

    /// The URL that a challenge names.
    pub fn realm(&self) -> String {
        self.url("/token")
    }

    /// The certificate whose key signs the tokens, as a file.
    pub fn certificate(&self, scratch: &Scratch) -> PathBuf {
        scratch.write("token.pem", self.tokens.certificate.pem())
    }

    /// Adds a user.
    pub fn user(&self, name: &str, password: &str) {
        lock(&self.tokens.users).insert(name.to_owned(), password.to_owned());
    }

    /// An identity token of a user.
    pub fn identity_token(&self, user: &str) -> String {
        let token = format!("identity-{user}-{}", lock(&self.tokens.refresh).len());
        lock(&self.tokens.refresh).insert(token.clone(), user.to_owned());
        token
    }

    /// Anybody may pull from this repository.
    pub fn public(&self, repository: &str) {
        lock(&self.tokens.anonymous).insert(repository.to_owned());
    }

    /// Tokens that are given from now on are good for so long. The rest is what a registry takes at
    /// least: none of them forever.
    pub fn lifetime(&self, lifetime: Duration) {
        *lock(&self.tokens.lifetime) = lifetime;
    }

    /// No token that was given until now is good any longer, for the tests' registry.
    pub fn revoke_all(&self) {
        lock(&self.tokens.grants).clear();
    }

    /// Adds a rule; the first that answers counts.
    pub fn on(&self, rule: impl FnMut(&Request) -> Option<Response> + Send + 'static) {
        lock(&self.tokens.rules).push(Box::new(rule));
    }

    /// Who asked for what, in order; without what a rule answered.
    pub fn asked(&self) -> Vec<TokenRequest> {
        lock(&self.tokens.asked).clone()
    }
}

impl Tokens {
    /// The challenge of a registry for something that needs (type, name, action).
    pub fn challenge(&self, scope: Option<(&str, &str, &str)>, had_token: bool) -> String {
        let mut challenge = format!("Bearer realm=\"{}\",service=\"{SERVICE}\"", lock(&self.realm));
        if let Some((kind, name, action)) = scope {
            let actions = if action == "push" { "pull,push" } else { action };
            challenge.push_str(&format!(",scope=\"{kind}:{name}:{actions}\""));
        }
        if had_token {
            challenge.push_str(",error=\"invalid_token\"");
        }
        challenge
    }

    /// Whether a token is good for (type, name, action).
    pub fn allows(&self, token: &str, scope: Option<(&str, &str, &str)>) -> bool {
        let grants = lock(&self.grants);
        let Some(grant) = grants.get(token).filter(|grant| grant.end > SystemTime::now()) else {
            return false;
        };
        scope.is_none_or(|(kind, name, action)| {
            grant.scopes.iter().filter_map(|scope| parts(scope)).any(
                |(given_kind, given_name, actions)| {
                    given_kind == kind && given_name == name && actions.contains(&action)
                },
            )
        })
    }

    fn answer(&self, request: &Request, body: &mut Body<'_>) -> Response {
        if let Some(response) = lock(&self.rules).iter_mut().find_map(|rule| rule(request)) {
            return response;
        }
        let (asked, response) = match request.method.as_str() {
            _ if request.path != "/token" => return Response::new(404),
            "GET" => self.get(request),
            "POST" => self.post(&form(&String::from_utf8_lossy(
                &body.whole(65536).ok().flatten().unwrap_or_default(),
            ))),
            _ => return Response::new(405),
        };
        lock(&self.asked).push(TokenRequest {
            method: request.method.clone(),
            status: response.status,
            ..asked
        });
        response
    }

    fn get(&self, request: &Request) -> (TokenRequest, Response) {
        let scopes = values(&request.query, "scope");
        let asked = TokenRequest { scopes: scopes.clone(), ..TokenRequest::default() };
        let user = match request.header("Authorization") {
            None => None,
            Some(_) => match request
                .basic()
                .filter(|(name, password)| lock(&self.users).get(name) == Some(password))
            {
                Some((name, _)) => Some(name),
                None => return (asked, refused()),
            },
        };
        let token = self.token(user.as_deref(), &scopes);
        let mut answer = json!({"token": token, "access_token": token, "expires_in": lock(&self.lifetime).as_secs()});
        if let (Some(user), Some("true")) = (&user, request.query("offline_token")) {
            answer["refresh_token"] = self.new_refresh(user).into();
        }
        (TokenRequest { user, ..asked }, Response::json(200, &answer))
    }

    fn post(&self, form: &[(String, String)]) -> (TokenRequest, Response) {
        let value = |name: &str| {
            form.iter()
                .find(|(other, _)| other == name)
                .map(|(_, value)| value.clone())
                .unwrap_or_default()
        };
        let scopes: Vec<String> = values(form, "scope");
        let asked = TokenRequest { scopes: scopes.clone(), ..TokenRequest::default() };
        let user = match value("grant_type").as_str() {
            "refresh_token" => lock(&self.refresh).get(&value("refresh_token")).cloned(),
            "password" => Some(value("username"))
                .filter(|user| lock(&self.users).get(user) == Some(&value("password"))),
            _ => return (asked, Response::json(400, &json!({"error": "unsupported_grant_type"}))),
        };
        let Some(user) = user else { return (asked, refused()) };
        let token = self.token(Some(&user), &scopes);
        let refresh = match value("grant_type").as_str() {
            "password" => self.new_refresh(&user),
            _ => value("refresh_token"),
        };
        let lifetime = lock(&self.lifetime).as_secs();
        let answer = json!({"access_token": token, "refresh_token": refresh, "expires_in": lifetime, "scope": scopes.join(" ")});
        (TokenRequest { user: Some(user), ..asked }, Response::json(200, &answer))
    }

    fn new_refresh(&self, user: &str) -> String {
        let mut refresh = lock(&self.refresh);
        let token = format!("refresh-{user}-{}", refresh.len());
        refresh.insert(token.clone(), user.to_owned());
        token
    }

    /// A JSON web token (RFC 7519) with what the user may do of what was asked, signed with ES256
    /// (RFC 7518, 3.4).
    fn token(&self, user: Option<&str>, scopes: &[String]) -> String {
        let may = |name: &str, action: &str| {
            user.is_some() || action == "pull" && lock(&self.anonymous).contains(name)
        };
        let mut access = Vec::new();
        let mut granted = Vec::new();
        for (kind, name, actions) in scopes.iter().filter_map(|scope| parts(scope)) {
            let actions: Vec<&str> =
                actions.into_iter().filter(|action| may(name, action)).collect();
            granted.push(format!("{kind}:{name}:{}", actions.join(",")));
            access.push(json!({"type": kind, "name": name, "actions": actions}));
        }
        let now = SystemTime::now();
        let seconds = now.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs();
        let lifetime = *lock(&self.lifetime);
        let mut grants = lock(&self.grants);
        let claims = json!({
            "iss": ISSUER, "sub": user.unwrap_or_default(), "aud": SERVICE, "jti": grants.len().to_string(),
            "iat": seconds - 3600, "nbf": seconds - 3600, "exp": seconds + lifetime.as_secs() - LEEWAY, "access": access,
        });
        let header = json!({"typ": "JWT", "alg": "ES256", "x5c": [base64(self.certificate.der())]});
        let signed = format!(
            "{}.{}",
            base64_url(header.to_string().as_bytes()),
            base64_url(claims.to_string().as_bytes())
        );
        let signature = self.key.sign(signed.as_bytes()).expect("a signature");
        let token = format!("{signed}.{}", base64_url(&fixed_length(&signature)));
        grants.insert(token.clone(), Grant { scopes: granted, end: now + lifetime });
        token
    }
}

fn refused() -> Response {
    let body = json!({"details": "incorrect username or password"});
    Response::json(401, &body).with("WWW-Authenticate", "Basic realm=\"token server\"")
}

/// Every value of a name, each split at spaces (several scopes may stand in one).
fn values(pairs: &[(String, String)], name: &str) -> Vec<String> {
    let found = pairs.iter().filter(|(other, _)| other == name);
    found
        .flat_map(|(_, value)| value.split(' '))
        .filter(|value| !value.is_empty())
        .map(str::to_owned)
        .collect()
}

/// A scope's type, name and actions; the name may have a colon.
fn parts(scope: &str) -> Option<(&str, &str, Vec<&str>)> {
    let (kind, rest) = scope.split_once(':')?;
    let (name, actions) = rest.rsplit_once(':')?;
    Some((kind, name, actions.split(',').collect()))
}

fn base64_url(bytes: &[u8]) -> String {
    base64(bytes).trim_end_matches('=').replace('+', "-").replace('/', "_")
}

/// The two numbers of an ECDSA signature, which come as DER, as 32 bytes each.
fn fixed_length(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut out = Vec::new();
    for _ in 0..2 {
        let length = rest[1] as usize;
        let number = &rest[2..2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        out.extend(std::iter::repeat_n(0, 32 - number.len()));
        out.extend_from_slice(number);
        rest = &rest[2 + length..];
    }
    out
}
