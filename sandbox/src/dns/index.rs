//! What cluster DNS knows, and how a name is looked up in it. Pure.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::{A, CNAME, NS, PTR, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use serde_json::Value;

use super::TTL;
use crate::controllers::endpoints::SERVICE_NAME;
use crate::controllers::object::{self, Key};

/// How many CNAMEs inside the cluster are followed for one answer.
const CHAIN_LIMIT: usize = 8;

/// An answer: records, or a negative one with the zone whose SOA goes with it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    /// Response code.
    pub(crate) code: ResponseCode,
    /// Answer section.
    pub(crate) records: Vec<Record>,
    /// Additional section.
    pub(crate) additionals: Vec<Record>,
    /// For NXDOMAIN and NODATA: the zone that says so.
    pub(crate) zone: Option<Name>,
}

impl Answer {
    /// An error without records.
    pub(crate) fn failure(code: ResponseCode) -> Self {
        Self { code, records: Vec::new(), additionals: Vec::new(), zone: None }
    }
}

#[derive(Debug, Default)]
struct Entry {
    cluster_ip: Option<Ipv4Addr>,
    external_name: Option<String>,
    publish_all: bool,
    /// Service ports: name, protocol (lower case), number. Of a headless service, those of its endpoints.
    ports: Vec<(String, String, u16)>,
    /// Of a headless service: host label and address, ready ones only.
    endpoints: BTreeSet<(String, Ipv4Addr)>,
}

/// Everything the cluster's zone holds.
#[derive(Debug)]
pub(crate) struct Index {
    zone: Name,
    zone_labels: Vec<String>,
    services: HashMap<Key, Entry>,
    namespaces: HashSet<String>,
    pointers: HashMap<Ipv4Addr, BTreeSet<String>>,
}

/// What a name under the zone stands for.
enum Found {
    Nothing,
    /// The name exists; it holds these records (perhaps none of the asked type).
    Records(Vec<RData>, Vec<Record>),
    Alias(String),
}

impl Index {
    /// An index of these Services and EndpointSlices under a cluster domain such as `cluster.local`.
    pub(crate) fn new<'a>(
        domain: &str,
        services: impl Iterator<Item = &'a Value>,
        slices: impl Iterator<Item = &'a Value>,
        namespaces: impl Iterator<Item = &'a str>,
    ) -> Self {
        let mut index = Self {
            zone: fqdn(domain),
            zone_labels: domain.trim_end_matches('.').split('.').map(str::to_ascii_lowercase).collect(),
            services: HashMap::new(),
            namespaces: namespaces.map(str::to_owned).collect(),
            pointers: HashMap::new(),
        };
        for service in services {
            index.add_service(service);
        }
        for slice in slices {
            index.add_slice(slice);
        }
        index
    }

    fn add_service(&mut self, service: &Value) {
        let key = Key::of(service);
        let cluster_ip: Option<Ipv4Addr> = object::text(service, "/spec/clusterIP").parse().ok();
        let is_external = object::text(service, "/spec/type") == "ExternalName";
        let ports = object::items(service, "/spec/ports").iter().filter_map(port).collect();
        if let Some(address) = cluster_ip {
            let name = self.service_name(&key);
            self.pointers.entry(address).or_default().insert(name);
        }
        self.namespaces.insert(key.namespace.clone());
        let entry = Entry {
            cluster_ip,
            external_name: is_external.then(|| object::text(service, "/spec/externalName").to_owned()),
            publish_all: object::flag(service, "/spec/publishNotReadyAddresses"),
            ports: if cluster_ip.is_some() { ports } else { Vec::new() },
            endpoints: BTreeSet::new(),
        };
        self.services.insert(key, entry);
    }

    fn add_slice(&mut self, slice: &Value) {
        let Some(service) =
            object::map(slice, "/metadata/labels").and_then(|labels| labels.get(SERVICE_NAME))
        else {
            return;
        };
        let key = Key::new(object::namespace(slice), service.as_str().unwrap_or_default());
        let base = self.service_name(&key);
        let Some(entry) = self.services.get_mut(&key) else { return };
        let is_headless = entry.cluster_ip.is_none() && entry.external_name.is_none();
        for endpoint in object::items(slice, "/endpoints") {
            let ready = endpoint.pointer("/conditions/ready").and_then(Value::as_bool) != Some(false);
            if !ready && !entry.publish_all {
                continue;
            }
            let hostname = object::text(endpoint, "/hostname");
            for address in object::items(endpoint, "/addresses")
                .iter()
                .filter_map(|at| at.as_str()?.parse::<Ipv4Addr>().ok())
            {
                let label = if hostname.is_empty() { dashed(address) } else { hostname.to_ascii_lowercase() };
                if is_headless {
                    self.pointers.entry(address).or_default().insert(format!("{label}.{base}"));
                    entry.endpoints.insert((label, address));
                }
            }
        }
        if is_headless {
            for port in object::items(slice, "/ports").iter().filter_map(port) {
                if !entry.ports.contains(&port) {
                    entry.ports.push(port);
                }
            }
        }
    }

    fn service_name(&self, key: &Key) -> String {
        format!("{}.{}.svc.{}.", key.name, key.namespace, self.zone_labels.join("."))
    }

    /// Answers one question.
    pub(crate) fn answer(&self, asked: &Name, kind: RecordType) -> Answer {
        let mut answer = Answer::failure(ResponseCode::NoError);
        let mut name = asked.clone();
        for _ in 0..CHAIN_LIMIT {
            let text = name.to_ascii().to_ascii_lowercase();
            let labels: Vec<&str> = text.trim_end_matches('.').split('.').collect();
            let (found, zone) = self.find(&labels);
            match found {
                Found::Nothing if !answer.records.is_empty() => return answer,
                Found::Nothing => {
                    answer.code = ResponseCode::NXDomain;
                    answer.zone = Some(zone);
                    return answer;
                }
                Found::Alias(target) => {
                    let target = fqdn(&target);
                    answer.records.push(Record::from_rdata(name, TTL, RData::CNAME(CNAME(target.clone()))));
                    if kind == RecordType::CNAME {
                        return answer;
                    }
                    name = target;
                }
                Found::Records(data, additionals) => {
                    let matching =
                        data.into_iter().filter(|data| kind == RecordType::ANY || data.record_type() == kind);
                    answer.records.extend(matching.map(|data| Record::from_rdata(name.clone(), TTL, data)));
                    if answer.records.is_empty() {
                        answer.zone = Some(zone);
                    } else {
                        answer.additionals = additionals;
                    }
                    return answer;
                }
            }
        }
        Answer::failure(ResponseCode::ServFail)
    }

    fn find(&self, labels: &[&str]) -> (Found, Name) {
        if let Some(prefix) = strip(labels, &self.zone_labels) {
            return (self.find_in_zone(prefix), self.zone.clone());
        }
        if let [reversed @ .., "in-addr", "arpa"] = labels {
            return (self.find_pointer(reversed), fqdn("in-addr.arpa"));
        }
        (Found::Nothing, Name::root())
    }

    fn find_in_zone(&self, prefix: &[&str]) -> Found {
        let empty = || Found::Records(Vec::new(), Vec::new());
        match prefix {
            [] => Found::Records(
                vec![RData::NS(NS(fqdn(&format!("ns.dns.{}", self.zone.to_ascii()))))],
                Vec::new(),
            ),
            ["dns-version"] => {
                Found::Records(vec![RData::TXT(TXT::new(vec!["1.1.0".to_owned()]))], Vec::new())
            }
            ["svc" | "pod"] => empty(),
            [namespace, "svc" | "pod"] if self.namespaces.contains(*namespace) => empty(),
            [address, namespace, "pod"] if self.namespaces.contains(*namespace) => match undashed(address) {
                Some(address) => Found::Records(vec![RData::A(A(address))], Vec::new()),
                None => Found::Nothing,
            },
            [inner @ .., service, namespace, "svc"] => {
                let key = Key::new(namespace, service);
                self.services
                    .get(&key)
                    .map_or(Found::Nothing, |entry| self.find_in_service(&key, entry, inner))
            }
            _ => Found::Nothing,
        }
    }

    fn find_in_service(&self, key: &Key, entry: &Entry, inner: &[&str]) -> Found {
        let base = self.service_name(key);
        match inner {
            [] => {
                if let Some(target) = &entry.external_name {
                    return Found::Alias(target.clone());
                }
                let mut data: Vec<RData> =
                    entry.cluster_ip.map(|address| RData::A(A(address))).into_iter().collect();
                let addresses: BTreeSet<_> = entry.endpoints.iter().map(|(_, address)| *address).collect();
                data.extend(addresses.into_iter().map(|address| RData::A(A(address))));
                if data.is_empty() && entry.cluster_ip.is_none() {
                    return Found::Nothing;
                }
                let (records, additionals) = pointers_to(entry, &base, |_| true);
                data.extend(records);
                Found::Records(data, additionals)
            }
            [label] if !label.starts_with('_') => {
                let addresses = entry.endpoints.iter().filter(|(name, _)| name == label);
                let data: Vec<_> = addresses.map(|(_, address)| RData::A(A(*address))).collect();
                if data.is_empty() { Found::Nothing } else { Found::Records(data, Vec::new()) }
            }
            [port, protocol] if port.starts_with('_') && protocol.starts_with('_') => {
                let (records, additionals) =
                    pointers_to(entry, &base, |(name, over, _)| *name == port[1..] && *over == protocol[1..]);
                if records.is_empty() { Found::Nothing } else { Found::Records(records, additionals) }
            }
            [protocol] if entry.ports.iter().any(|(_, over, _)| *over == protocol[1..]) => {
                Found::Records(Vec::new(), Vec::new())
            }
            _ => Found::Nothing,
        }
    }

    fn find_pointer(&self, reversed: &[&str]) -> Found {
        let octets: Option<Vec<u8>> = reversed.iter().rev().map(|label| label.parse().ok()).collect();
        let Some(&[a, b, c, d]) = octets.as_deref() else { return Found::Nothing };
        match self.pointers.get(&Ipv4Addr::new(a, b, c, d)) {
            Some(names) => {
                Found::Records(names.iter().map(|name| RData::PTR(PTR(fqdn(name)))).collect(), Vec::new())
            }
            None => Found::Nothing,
        }
    }
}

/// SRV records for the chosen ports, with the addresses of their targets.
fn pointers_to(
    entry: &Entry,
    base: &str,
    chosen: impl Fn(&(String, String, u16)) -> bool,
) -> (Vec<RData>, Vec<Record>) {
    let targets: Vec<(Name, Ipv4Addr)> = match entry.cluster_ip {
        Some(address) => vec![(fqdn(base), address)],
        None => entry
            .endpoints
            .iter()
            .map(|(label, address)| (fqdn(&format!("{label}.{base}")), *address))
            .collect(),
    };
    let weight = 100 / u16::try_from(targets.len().clamp(1, 100)).unwrap_or(100);
    let ports = entry.ports.iter().filter(|port| chosen(port));
    let records: Vec<RData> = ports
        .flat_map(|(_, _, port)| {
            targets.iter().map(|(target, _)| RData::SRV(SRV::new(0, weight, *port, target.clone())))
        })
        .collect();
    let additionals = if records.is_empty() { Vec::new() } else { targets };
    let additionals =
        additionals.into_iter().map(|(name, address)| Record::from_rdata(name, TTL, RData::A(A(address))));
    (records, additionals.collect())
}

fn port(port: &Value) -> Option<(String, String, u16)> {
    let protocol = Some(object::text(port, "/protocol")).filter(|name| !name.is_empty()).unwrap_or("TCP");
    let number = object::int(port, "/port").and_then(|number| u16::try_from(number).ok())?;
    Some((object::text(port, "/name").to_ascii_lowercase(), protocol.to_ascii_lowercase(), number))
}

/// The labels in front of a zone.
fn strip<'a, 'b>(labels: &'b [&'a str], zone: &[String]) -> Option<&'b [&'a str]> {
    let cut = labels.len().checked_sub(zone.len())?;
    let (prefix, suffix) = labels.split_at(cut);
    suffix.iter().zip(zone).all(|(label, wanted)| label == wanted).then_some(prefix)
}

fn fqdn(name: &str) -> Name {
    let mut parsed = Name::from_ascii(name).unwrap_or_else(|_| Name::root());
    parsed.set_fqdn(true);
    parsed
}

fn dashed(address: Ipv4Addr) -> String {
    address.to_string().replace('.', "-")
}

fn undashed(label: &str) -> Option<Ipv4Addr> {
    label.replace('-', ".").parse().ok()
}
