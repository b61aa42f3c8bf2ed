// An SMSC made of npm's `smpp`, for tests/smpp/test_interop.py: one JSON line for the port, one for each PDU of interest.
// Node finds the package by NODE_PATH. Ends when its standard input does.
"use strict";
const smpp = require("smpp");

const say = (what) => process.stdout.write(JSON.stringify(what) + "\n");
let lastId = 0;

const server = smpp.createServer({}, (session) => {
  const bind = (pdu) => {
    const refused = pdu.password !== "secret";
    say({ event: pdu.command, system_id: pdu.system_id, version: pdu.interface_version, refused });
    session.send(pdu.response(refused ? { command_status: smpp.ESME_RINVPASWD } : { system_id: "node" }));
    if (refused) session.close();
  };
  session.on("bind_transceiver", bind);
  session.on("bind_transmitter", bind);
  session.on("bind_receiver", bind);
  session.on("error", (error) => say({ event: "error", text: String(error) }));
  session.on("enquire_link", (pdu) => session.send(pdu.response()));
  session.on("submit_sm", (pdu) => {
    const id = (++lastId).toString(16);
    const text = pdu.short_message.message;
    say({
      event: "submit_sm",
      to: pdu.destination_addr,
      from: pdu.source_addr,
      coding: pdu.data_coding,
      text: Buffer.isBuffer(text) ? text.toString("hex") : text,
      header: pdu.short_message.udh ? Buffer.concat(pdu.short_message.udh.map((x) => Buffer.from(x))).toString("hex") : "",
    });
    session.send(pdu.response({ message_id: id }));
    if (pdu.registered_delivery) {
      session.deliver_sm(
        {
          source_addr: pdu.destination_addr,
          destination_addr: pdu.source_addr,
          esm_class: smpp.ESM_CLASS.MC_DELIVERY_RECEIPT,
          receipted_message_id: id,
          message_state: smpp.MESSAGE_STATE.DELIVERED,
          short_message: `id:${id} sub:001 dlvrd:001 submit date:2611210000 done date:2611210001 stat:DELIVRD err:000 text:`,
        },
        (answer) => say({ event: "receipt_answered", status: answer.command_status }),
      );
    }
  });
  session.on("unbind", (pdu) => {
    say({ event: "unbind" });
    session.send(pdu.response());
    session.close();
  });
});

server.listen(0, "127.0.0.1", () => say({ event: "listening", port: server.address().port }));
process.stdin.on("end", () => process.exit(0));
process.stdin.resume();
