/** The bundle of all views but that of a survey. */
import { widgetOf } from "./entry";
import { View } from "./views/root";

export default widgetOf(View);
