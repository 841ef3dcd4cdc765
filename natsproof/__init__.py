"""natsproof proves or refutes what a NATS JetStream KV platform promises in its manifests.

Map of the package, lowest layer first (import-linter holds it):

    errors units clock              no knowledge of NATS or Kubernetes objects
    contract history verdict        what is promised, what was seen, what follows
    cluster checkers rules client   a platform that runs; pure judges; the recording client
    faults workloads                what is done to it, and what clients do meanwhile
    trial load                      one experiment as data, and its execution
    report                          verdicts to HTML, JSON, JUnit, certificate
    pytest_plugin cli               how people run it

The judging half (history, verdict, checkers, rules, report) never imports the acting half
(cluster, client, faults, workloads, trial, load), so stored evidence can be judged anywhere.
"""

__version__ = "0.1.0"
