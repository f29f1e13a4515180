//! Images under the names in docker-compose.yml, made from the programs of this machine, since no registry is asked. Owns what the
//! real images have in common with them: users, paths, entry points, working folders and the signal to stop. Used by `project`.

use std::path::Path;
use std::process::Command;

use crate::engine::Engine;
use crate::project::root;
use crate::root_folder::RootFolder;

/// The search path of the real images.
const PATH: &str = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the entry point of the image of Redis does for its own user.
const REDIS: &str = "#!/bin/sh\nset -e\numask 0077\nexec \"$@\"\n";

/// The entry point of the image of HAProxy.
const HAPROXY: &str = "#!/bin/sh\n\
    set -e\n\
    if [ \"${1#-}\" != \"$1\" ]; then set -- haproxy \"$@\"; fi\n\
    if [ \"$1\" = haproxy ]; then shift; set -- haproxy -W -db \"$@\"; fi\n\
    exec \"$@\"\n";

/// The image that the Dockerfile of the node begins its last stage with.
const BASE: &str = "chatnode-tests/distroless";

/// Makes all images but Grafana's, for which this machine has no program.
pub fn make(engine: &Engine) {
    let files = |name: &str, users: &[&str]| RootFolder::new(engine.path("roots").join(name), users);

    let redis = files("redis", &["redis:x:999:1000:redis:/home/redis:/bin/sh"])
        .shell()
        .programs("/usr/local/bin", &["redis-server", "redis-cli"])
        .script("/usr/local/bin/docker-entrypoint.sh", REDIS)
        .folder_of("/data", 999, 1000);
    let settings = [
        PATH,
        "VOLUME /data",
        "WORKDIR /data",
        "ENTRYPOINT [\"docker-entrypoint.sh\"]",
        "CMD [\"redis-server\"]",
    ];
    make_image(engine, &redis, &settings, &named("redis"));

    let haproxy = files("haproxy", &["haproxy:x:99:99:haproxy:/var/lib/haproxy:/bin/sh"])
        .shell()
        .programs("/usr/local/sbin", &["haproxy"])
        .script("/usr/local/bin/docker-entrypoint.sh", HAPROXY)
        .folder_of("/usr/local/etc/haproxy", 0, 0)
        .folder_of("/var/lib/haproxy", 99, 99);
    let settings = [
        PATH,
        "STOPSIGNAL SIGUSR1",
        "USER haproxy",
        "WORKDIR /var/lib/haproxy",
        "ENTRYPOINT [\"docker-entrypoint.sh\"]",
        "CMD [\"haproxy\", \"-f\", \"/usr/local/etc/haproxy/haproxy.cfg\"]",
    ];
    make_image(engine, &haproxy, &settings, &named("haproxy"));

    let prometheus = files("prometheus", &["nobody:x:65534:65534:nobody:/home:/bin/false"])
        .programs("/bin", &["prometheus"])
        .folder_of("/etc/prometheus", 0, 0)
        .folder_of("/prometheus", 65534, 65534);
    let settings = [
        PATH,
        "USER nobody",
        "VOLUME /prometheus",
        "WORKDIR /prometheus",
        "ENTRYPOINT [\"/bin/prometheus\"]",
    ];
    make_image(engine, &prometheus, &settings, &named("prom/prometheus"));

    let base = files("base", &["nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin"]);
    base.libraries_of(Path::new(env!("CARGO_BIN_EXE_chatnode")));
    make_image(engine, &base, &["USER 65532:65532"], BASE);
    build_node(engine, &named("chatnode"), "first");
}

/// The image of this name in docker-compose.yml, with its tag.
pub fn named(name: &str) -> String {
    let compose = std::fs::read_to_string(root().join("docker-compose.yml")).unwrap();
    let images = compose.lines().filter_map(|line| line.trim().strip_prefix("image: "));
    let image = images.map(str::to_owned).find(|image| image.starts_with(&format!("{name}:")));
    image.unwrap_or_else(|| panic!("docker-compose.yml has no image {name}"))
}

/// Builds the image of the node by the last stage of the Dockerfile, with the program of this test. Another revision is another
/// image.
pub fn build_node(engine: &Engine, image: &str, revision: &str) {
    let dockerfile = std::fs::read_to_string(root().join("Dockerfile")).unwrap();
    let (_, last) = dockerfile.rsplit_once("\nFROM gcr.io/distroless/").expect("a last stage on distroless");
    let (_, last) = last.split_once('\n').unwrap();
    let context = engine.path("context");
    let built = context.join("build/target/dist");
    std::fs::create_dir_all(&built).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_chatnode"), built.join("chatnode")).unwrap();
    let stages = format!("FROM scratch AS build\nCOPY build /build\nFROM {BASE}\n{last}");
    std::fs::write(context.join("Dockerfile"), stages).unwrap();
    let argument = format!("REVISION={revision}");
    engine.docker(&["build", "--quiet", "--build-arg", &argument, "--tag", image, context.to_str().unwrap()]);
}

/// Makes an image of the files with these lines of a Dockerfile.
fn make_image(engine: &Engine, root: &RootFolder, lines: &[&str], image: &str) {
    let context = engine.path("image");
    std::fs::create_dir_all(&context).unwrap();
    // Unpacked by the daemon, an archive keeps the owners of its files.
    let mut pack = Command::new("tar");
    pack.arg("-C").arg(root.path()).arg("-cf").arg(context.join("root.tar")).arg(".");
    assert!(pack.status().unwrap().success());
    std::fs::write(
        context.join("Dockerfile"),
        format!("FROM scratch\nADD root.tar /\n{}\n", lines.join("\n")),
    )
    .unwrap();
    engine.docker(&["build", "--quiet", "--tag", image, context.to_str().unwrap()]);
    std::fs::remove_dir_all(context).unwrap();
    std::fs::remove_dir_all(root.path()).unwrap();
}
