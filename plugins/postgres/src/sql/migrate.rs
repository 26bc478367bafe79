//! From one data format to the next.

use tokio_postgres::{Client, Error};

use super::{
    Schema, first_row,
    schema::{DATA_FORMAT, lock},
};

/// What brings the schema from each format to the next, the first from format 1 to 2. There is one format yet.
const STEPS: [&str; DATA_FORMAT as usize - 1] = [];

/// Brings the schema to the newest format, in one transaction or not at all; answers which format it has
/// then. Hosts that migrate or make a schema at the same time do it one after the other.
pub(crate) async fn migrate(client: &Client, schema: &Schema) -> Result<i64, Error> {
    by(client, schema, &STEPS).await
}

async fn by(client: &Client, schema: &Schema, steps: &[&str]) -> Result<i64, Error> {
    // How long it may take, the caller decides.
    client.batch_execute(&format!("BEGIN; SET LOCAL statement_timeout = 0; {}", lock(schema))).await?;
    let migrated = take(client, schema, steps).await;
    client.batch_execute(if migrated.is_ok() { "COMMIT" } else { "ROLLBACK" }).await?;
    migrated
}

async fn take(client: &Client, schema: &Schema, steps: &[&str]) -> Result<i64, Error> {
    let read = schema.text("SELECT value FROM keyway.meta WHERE name = 'data_format'");
    let found = client.simple_query(&read).await?;
    let mut format: i64 = first_row(&found).and_then(|row| row.get(0)?.parse().ok()).unwrap_or(1);
    let missing = steps.iter().skip(usize::try_from(format - 1).unwrap_or(usize::MAX));
    for step in missing {
        format += 1;
        let write = format!("UPDATE keyway.meta SET value = {format} WHERE name = 'data_format'");
        client.batch_execute(&schema.text(&format!("{step}; {write}"))).await?;
    }
    Ok(format)
}

#[cfg(test)]
mod tests {
    use keyway_private_postgres::{Options, Server, needed};

    use super::*;
    use crate::sql::{Found, create, look};

    const GOOD: [&str; 2] = [
        "ALTER TABLE keyway.records ADD COLUMN colour text",
        "UPDATE keyway.records SET colour = 'red'; ALTER TABLE keyway.records ALTER COLUMN colour SET NOT NULL",
    ];

    async fn connect(server: &Server) -> Client {
        let mut config = tokio_postgres::Config::new();
        config.host_path(server.socket()).port(server.port()).user("admin").dbname("postgres");
        let (client, connection) = config.connect(tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    async fn format(client: &Client, schema: &Schema) -> i64 {
        match look(client, schema).await.unwrap() {
            Found::Ours { data_format, .. } => data_format,
            found => panic!("{found:?}"),
        }
    }

    fn run(test: impl AsyncFnOnce(&Server, &Schema)) {
        let Some(server) = needed(&Options::default()) else { return };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test(&server, &Schema::new("other").unwrap()));
    }

    #[test]
    fn each_step_is_taken_once_by_any_host() {
        run(async |server, schema| {
            let client = connect(server).await;
            create(&client, schema).await.unwrap();
            client
                .batch_execute(
                    "INSERT INTO other.records (space, version, key, value) VALUES (1, 1, 'k', 'v')",
                )
                .await
                .unwrap();
            assert_eq!(
                migrate(&client, schema).await.unwrap(),
                i64::from(DATA_FORMAT),
                "there is nothing to do"
            );
            let hosts = [connect(server).await, connect(server).await, connect(server).await];
            let [one, other, third] = &hosts;
            let asked =
                tokio::join!(by(one, schema, &GOOD), by(other, schema, &GOOD), by(third, schema, &GOOD));
            assert_eq!((asked.0.unwrap(), asked.1.unwrap(), asked.2.unwrap()), (3, 3, 3));
            assert_eq!(format(&client, schema).await, 3);
            assert_eq!(server.sql("SELECT colour FROM other.records").unwrap(), "red");
        });
    }

    #[test]
    fn step_that_fails_leaves_the_format_that_was() {
        run(async |server, schema| {
            let client = connect(server).await;
            create(&client, schema).await.unwrap();
            let bad = [GOOD[0], "SELECT 1 / 0", GOOD[1]];
            assert!(by(&client, schema, &bad).await.is_err());
            assert_eq!(format(&client, schema).await, 1);
            let columns = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'other' AND column_name = 'colour'";
            assert_eq!(server.sql(columns).unwrap(), "0");
            // The connection is of use, and so is the schema.
            assert_eq!(by(&client, schema, &GOOD).await.unwrap(), 3);
        });
    }
}
