//! `tls`: certificates and the options `default`, which hold for every listener with TLS.

use super::Import;
use crate::import::draft::{Said, Tls};
use crate::import::report::Origin;
use crate::import::tree::Tree;

/// Where certificates are expected that an ACME client has to fetch.
const ACME_FOLDER: &str = "/etc/ringbolt/certificates";

const ALWAYS_SAFE: &str = "ciphers and curves are safe by themselves";

impl Import<'_, '_> {
    pub(super) fn tls(&mut self) {
        let mut tls = Tls::default();
        if let Some(default) = self.tree.get(&["tls", "stores", "default", "defaultCertificate"]) {
            self.certificate(default, &mut tls);
        }
        for part in self.tree.get(&["tls", "certificates"]).into_iter().flat_map(Tree::list) {
            _ = part.get(&["stores"]).inspect(|stores| stores.take_all());
            self.certificate(part, &mut tls);
        }
        if let Some(options) = self.tree.get(&["tls", "options", "default"]) {
            self.options(options, &mut tls);
        }
        let acme = self.acme();
        if let Some(origin) = acme
            && tls.certificates.is_empty()
        {
            tls.keys.insert("folder", Said::text(ACME_FOLDER, &origin));
            let why = "certificates are not fetched: let an ACME client such as certbot or lego put them into `folder`";
            self.draft.not_translated(&origin, why);
        }
        for listener in self.draft.listeners.iter_mut().filter_map(|listener| listener.tls.as_mut()) {
            listener.merge(tls.clone());
        }
    }

    fn certificate(&mut self, part: &Tree, tls: &mut Tls) {
        let origin = self.origin(part.get(&["certFile"]).unwrap_or(part));
        match (part.text(&["certFile"]), part.text(&["keyFile"])) {
            (Some(certificate), Some(key)) => {
                tls.certificates.push((certificate.to_owned(), Some(key.to_owned()), origin));
            }
            _ => self.draft.not_translated(&origin, "has no file of a certificate and one of its key"),
        }
    }

    /// Where certificates come from by ACME, if they do.
    fn acme(&mut self) -> Option<Origin> {
        let resolvers = self.tree.get(&["certificatesResolvers"]).inspect(|resolvers| resolvers.take_all());
        let mut routers = self.named(&["http", "routers"]).chain(self.named(&["tcp", "routers"]));
        let router = routers.find_map(|(_, router)| router.get(&["tls", "certResolver"]));
        let entry =
            self.named(&["entryPoints"]).find_map(|(_, entry)| entry.get(&["http", "tls", "certResolver"]));
        resolvers.or(router).or(entry).map(|part| self.origin(part))
    }

    fn options(&mut self, options: &Tree, tls: &mut Tls) {
        for (key, ours) in [("minVersion", "min_version"), ("maxVersion", "max_version")] {
            let Some(part) = options.get(&[key]) else { continue };
            let origin = self.origin(part);
            match options.text(&[key]) {
                Some("VersionTLS13") => _ = tls.keys.insert(ours, Said::text("1.3", &origin)),
                Some("VersionTLS12") => _ = tls.keys.insert(ours, Said::text("1.2", &origin)),
                _ => self.draft.changed(&origin, "TLS is 1.2 or 1.3"),
            }
        }
        if let Some(part) = options.get(&["sniStrict"]).filter(|_| options.is_true(&["sniStrict"])) {
            tls.keys.insert("strict", Said { value: "true".to_owned(), origin: self.origin(part) });
        }
        for key in ["cipherSuites", "curvePreferences", "preferServerCipherSuites", "alpnProtocols"] {
            if let Some(part) = options.get(&[key]) {
                part.take_all();
                self.draft.not_needed(&self.origin(part), ALWAYS_SAFE);
            }
        }
        let Some(part) = options.get(&["clientAuth", "clientAuthType"]) else { return };
        let origin = self.origin(part);
        let auth = match options.text(&["clientAuth", "clientAuthType"]).unwrap_or_default() {
            "VerifyClientCertIfGiven" => "optional",
            "NoClientCert" => return,
            // Those that only look whether there is one are made as strict.
            _ => "required",
        };
        tls.keys.insert("client_auth", Said::text(auth, &origin));
        match options.texts(&["clientAuth", "caFiles"])[..] {
            [file] => _ = tls.keys.insert("client_ca", Said::text(file, &origin)),
            _ => self
                .draft
                .not_translated(&origin, "issuers are in one file: put them together in `client_ca`"),
        }
    }
}
