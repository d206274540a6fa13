//! What is in each image.

/// One image: a static executable over a few files, and for `init` Debian's `nft`.
#[derive(Debug)]
pub(crate) struct Recipe {
    /// The image's name after the prefix, as the charts and the demo's manifests say it.
    pub(crate) name: &'static str,
    /// The package that holds the executable.
    pub(crate) package: &'static str,
    /// The executable, in `/isthmus`.
    pub(crate) binary: &'static str,
    /// User and group when a pod says nothing.
    pub(crate) user: &'static str,
    /// What the image is for.
    pub(crate) description: &'static str,
    /// The most bytes that all its files may have, if there is a promise.
    pub(crate) limit: Option<u64>,
    /// Whether `nft` and the libraries it needs are in it.
    pub(crate) nft: bool,
}

const MIB: u64 = 1 << 20;

/// `/isthmus` comes first, so that a command may be given without its folder.
pub(crate) const PATH: &str = "/isthmus:/usr/sbin:/usr/bin:/sbin:/bin";

/// All images. Users are those of the charts: the proxy's and the controllers' are known to the redirect rules, the
/// others are nobody in particular.
pub(crate) const RECIPES: &[Recipe] = &[
    Recipe {
        name: "proxy",
        package: "mesh-image-proxy",
        binary: "isthmus-proxy",
        user: "2102:2102",
        description: "The data plane of Isthmus: sidecar, and gateway between clusters",
        limit: Some(15 * MIB),
        nft: false,
    },
    Recipe {
        name: "controller",
        package: "mesh-image-controller",
        binary: "isthmus-controller",
        user: "2103:2103",
        description: "The control plane of Isthmus: one subcommand for each controller",
        limit: None,
        nft: false,
    },
    Recipe {
        name: "init",
        package: "mesh-image-init",
        binary: "isthmus-init",
        user: "65534:65534",
        description: "Redirects the traffic of a pod to its proxy, and proves that it does",
        limit: Some(25 * MIB),
        nft: true,
    },
    Recipe {
        name: "demo",
        package: "mesh-demo",
        binary: "isthmus-demo",
        user: "65532:65532",
        description: "A small shop that shows what the mesh does, and its load generator",
        limit: None,
        nft: false,
    },
];
