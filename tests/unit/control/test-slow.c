/* SPDX-License-Identifier: MIT */
/* An engine that never answers: the client is told so after LIMIT_COMMAND_USEC, in one line that says what to do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "capd/bus.h"
#include "fixture.h"

static void test_time_out(void **state)
{
        struct fixture *f = *state;
        sd_bus_error error = SD_BUS_ERROR_NULL;
        sd_bus_message *m = NULL;
        struct wire_command c;
        sd_bus *bus;

        if (geteuid() != 0) {
                print_message("skipped: commands need root\n");
                skip();
        }
        bus = connect_front(f);
        assert_true(sd_bus_message_new_method_call(bus, &m, NULL, BUS_PATH, BUS_MANAGER_INTERFACE, "Reload") >= 0);
        assert_true(sd_bus_call(bus, m, LIMIT_COMMAND_USEC + 10 * USEC_PER_SEC, &error, NULL) < 0);
        assert_string_equal(error.name, BUS_ERROR_FAILED);
        assert_string_equal(error.message, "capd did not answer within 30 s; it may be busy or stuck: see its log");
        sd_bus_error_free(&error);
        sd_bus_message_unref(m);
        /* an answer that comes after all is for nobody */
        receive_command(f, &c);
        send_reply(f, c.serial, 0, "late", NULL, 0);
        (void)get_u64(bus, BUS_PATH, BUS_MANAGER_INTERFACE, "Tick");
        sd_bus_flush_close_unref(bus);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                        cmocka_unit_test_setup_teardown(test_time_out, fixture_setup, fixture_teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
