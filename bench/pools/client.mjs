// A client program of a scene: Node's http with a keepalive agent. `node client.mjs WANT`: as client.py.
import http from "node:http";

const want = JSON.parse(process.argv[2]);
const kept = [];
const agent = new http.Agent({ keepAlive: true, maxSockets: want.count ?? Infinity });
const options = { host: want.address, port: want.port, path: "/", agent };

function get(read) {
  const request = http.get(options, (response) => {
    kept.push(response);
    if (read) {
      response.resume();
      kept.pop();
    }
  });
  request.on("error", () => {});
}

console.log("ready");
if (want.does === "leak") {
  // The answer is never read: its socket never goes back to the agent.
  setInterval(() => get(false), 1000 / want.rate);
} else if (want.does === "pool") {
  setInterval(() => get(true), want.every_s * 1000);
} else {
  for (let i = 0; i < want.count; i++) get(true);
  setInterval(() => {}, 1000);
}
