using Workerd = import "/workerd/workerd.capnp";
using Lowcloud = import "lowcloud.capnp";

const config :Workerd.Config = (
  services = [
    (name = "main", worker = .main),
    (name = "lowcloud", external = Lowcloud.server),
    (name = "internet", network = (allow = ["public", "private"])),  # getUrl's is one of this machine
  ],
  sockets = [(name = "http", address = "127.0.0.1:0", http = (), service = "main")],
);

const main :Workerd.Worker = (
  modules = [(name = "worker", esModule = embed "worker.mjs")],
  compatibilityDate = "2026-04-01",
  bindings = [Lowcloud.ai, (name = "KEEPER", durableObjectNamespace = "Keeper")],
  durableObjectNamespaces = [(className = "Keeper", uniqueKey = "of-the-tests")],
  durableObjectStorage = (inMemory = void),
);
