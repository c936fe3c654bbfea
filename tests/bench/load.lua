-- A POST of `BYTES` bytes [128], and one line of JSON at the end for tests/bench/wrk.py.
wrk.method = "POST"
wrk.body = string.rep("x", tonumber(os.getenv("BYTES") or "128"))
wrk.headers["Content-Type"] = "application/octet-stream"

function done(summary, latency)
  local failed = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"micros":%d,"refused":%d,"broken":%d,"p50":%d,"p99":%d}\n',
    summary.requests, summary.duration, failed.status,
    failed.connect + failed.read + failed.write + failed.timeout,
    latency:percentile(50), latency:percentile(99)))
end
