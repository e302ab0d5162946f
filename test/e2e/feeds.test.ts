// Other people's update clients take our release: the real electron-updater, from a plain web server, and what it does with swapped bytes.

import assert from "node:assert/strict";
import { createServer, request, type Server } from "node:http";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join, normalize } from "node:path";
import { after, before, describe, it } from "node:test";
import { freePort, Programs } from "./_programs.ts";

const require = createRequire(import.meta.url);
const folder = mkdtempSync(join(tmpdir(), "upkeep-feeds-"));
const at = (name: string): string => join(folder, name);
const programs = new Programs(folder, { UPKEEP_DATA: at("data") });
const program = Buffer.alloc(300_000, "AppImage of version 1.1.0 ");
let server: Server;
let port = 0;

before(async () => {
  port = await freePort();
  server = createServer((asked, answer) => {
    const path = normalize(new URL(asked.url!, "http://x").pathname);
    const root = path.startsWith("/repository/") ? at("data") : at("served");
    try {
      answer.end(readFileSync(join(root, path)));
    } catch {
      answer.writeHead(404).end();
    }
  });
  await new Promise<void>((ready) => server.listen(port, "127.0.0.1", ready));
  mkdirSync(at("served"));
  writeFileSync(at("desk.AppImage"), program, { mode: 0o755 });
  writeFileSync(at("notes.txt"), "all new");
  await programs.ok(["repo", "init"]);
  await programs.ok([
    "release",
    "add",
    "desk",
    "1.1.0",
    "linux-x64=desk.AppImage",
    "--data-only",
    "--promote",
    "--notes-file",
    "notes.txt",
  ]);
});
after(() => {
  server.closeAllConnections();
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

type Updater = {
  httpExecutor: unknown;
  autoDownload: boolean;
  logger: null;
  setFeedURL(options: object): void;
  checkForUpdates(): Promise<{
    readonly isUpdateAvailable: boolean;
    readonly updateInfo: { readonly version: string; readonly releaseNotes?: string };
  } | null>;
  downloadUpdate(): Promise<readonly string[]>;
  on(event: "error", hear: (error: Error) => void): void;
};

/** As an application without Electron runs it: its own adapter for the application, and Node's http below it. */
function updater(version: string, cache: string): Updater {
  process.env["APPIMAGE"] = at("running.AppImage");
  const { AppImageUpdater } = require("electron-updater") as {
    AppImageUpdater: new (options: null, app: object) => Updater;
  };
  const { HttpExecutor, configureRequestUrl } = require("builder-util-runtime") as {
    HttpExecutor: new () => { doDownload(options: object, more: object, redirects: number): void };
    configureRequestUrl: (url: URL, options: object) => void;
  };
  class NodeExecutor extends HttpExecutor {
    createRequest(options: object, hear: (answer: object) => void): object {
      return request(options, hear);
    }
    download(
      url: URL,
      destination: string,
      options: {
        cancellationToken: {
          createPromise(
            run: (done: (to: string) => void, fail: (error: Error) => void, onCancel: unknown) => void,
          ): Promise<string>;
        };
      },
    ): Promise<string> {
      return options.cancellationToken.createPromise((done, fail, onCancel) => {
        const asked = {};
        configureRequestUrl(url, asked);
        const callback = (error: Error | null): void =>
          error === null || error === undefined ? done(destination) : fail(error);
        this.doDownload(asked, { destination, options, onCancel, callback, responseHandler: null }, 0);
      });
    }
  }
  mkdirSync(cache, { recursive: true });
  writeFileSync(join(cache, "app-update.yml"), "updaterCacheDirName: desk\n");
  const app = {
    version,
    name: "desk",
    isPackaged: true,
    appUpdateConfigPath: join(cache, "app-update.yml"),
    userDataPath: cache,
    baseCachePath: cache,
    whenReady: () => Promise.resolve(),
    relaunch: () => {},
    quit: () => {},
    onQuit: () => {},
  };
  const made = new AppImageUpdater(null, app);
  made.httpExecutor = new NodeExecutor();
  made.setFeedURL({ provider: "generic", url: `http://127.0.0.1:${port}/feed` });
  made.autoDownload = false;
  made.logger = null;
  made.on("error", () => {});
  return made;
}

describe(
  "a release for electron-updater",
  { skip: process.platform === "linux" ? false : "its AppImage updater runs on Linux" },
  () => {
    it("is found, downloaded and verified by the real client", async () => {
      await programs.ok([
        "release",
        "feed",
        "desk",
        "--format",
        "electron",
        "--url",
        `http://127.0.0.1:${port}/repository`,
        "--out",
        "served/feed",
      ]);
      assert.deepEqual(readdirSync(at("served/feed")), ["latest-linux.yml"]);
      const client = updater("1.0.0", at("cache-1"));
      const found = await client.checkForUpdates();
      assert.equal(found?.updateInfo.version, "1.1.0");
      assert.equal(found.updateInfo.releaseNotes, "all new");
      const [file] = await client.downloadUpdate();
      assert.ok(readFileSync(file!).equals(program));
    });

    it("is nothing new for a program that is as new", async () => {
      const found = await updater("1.1.0", at("cache-2")).checkForUpdates();
      assert.equal(found?.isUpdateAvailable, false);
    });

    it("is refused by the client when a mirror swapped the bytes", async () => {
      const [, address] = /^path: "(.+)"$/m.exec(readFileSync(at("served/feed/latest-linux.yml"), "utf8"))!;
      const path = new URL(address!).pathname;
      const whole = readFileSync(at(`data${path}`));
      rmSync(at(`data${path}`));
      writeFileSync(at(`data${path}`), Buffer.alloc(whole.length, "x"));
      const client = updater("1.0.0", at("cache-3"));
      await client.checkForUpdates();
      await assert.rejects(client.downloadUpdate(), /sha512 checksum mismatch/);
    });
  },
);
