use mesh_testkit::Cluster;
#[tokio::main]
async fn main() {
    let c = Cluster::start().await.unwrap();
    std::fs::copy(c.kubeconfig_path(), "/tmp/apib/kubeconfig").unwrap();
    println!("{}", c.url());
    tokio::time::sleep(std::time::Duration::from_secs(3600)).await;
}
